"""A wake, a sleep and a satellite's states as a client that follows them sees them."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from controlkit.fakes import GLOBEX, asleep, satellite
from waiting import LONG

from torpor_router.control.v1 import torpor_pb2 as pb
from torpor_statemachine.lifecycle.states import State


async def test_a_wake_is_told_from_its_start_to_its_end(control) -> None:
    house = await control(asleep())
    told = []
    async for each in house.stub.Wake(
        pb.WakeRequest(name="one"), metadata=house.token, timeout=LONG
    ):
        told.append(each)
        if len(told) == 4:
            await house.fleet.becomes("one", State.RUNNING)
    states = [each.satellite.state for each in told]
    assert states[:4] == [pb.STATE_WAKING] * 4, "at once, and then at each beat"
    assert states[-1] == pb.STATE_RUNNING
    assert told[0].waiting_for == "the machine is starting (resumed memory)"
    assert told[-1].waiting_for == ""
    elapsed = [each.elapsed.ToMicroseconds() for each in told]
    assert elapsed == sorted(elapsed)
    assert house.fleet.asked == [("wake", "one", "token:ci")]
    assert house.fleet.followers == 0


async def test_a_wake_of_what_runs_ends_at_once(control) -> None:
    house = await control(satellite())
    call = house.stub.Wake(pb.WakeRequest(name="one"), metadata=house.token, timeout=LONG)
    assert [each.satellite.state async for each in call] == [pb.STATE_RUNNING]


async def test_a_wake_while_falling_asleep_waits_for_it(control) -> None:
    house = await control(satellite(state=State.SLEEPING))
    lines: list[Any] = []
    async for each in house.stub.Wake(
        pb.WakeRequest(name="one"), metadata=house.token, timeout=LONG
    ):
        if not lines:
            await house.fleet.becomes("one", State.ASLEEP)
        if each.satellite.state == pb.STATE_WAKING and len(lines) > 2:
            await house.fleet.becomes("one", State.RUNNING)
        lines.append(each.waiting_for)
    assert lines[0] == "still falling asleep; wakes as soon as it can"
    assert "asleep; about to be started" in lines
    assert lines[-1] == ""
    assert len(house.fleet.asked) >= 2, "nobody was at work on it, so it was asked for again"


async def test_a_failed_wake_is_told_with_its_cause(control, code) -> None:
    house = await control(asleep(failure="TPR-2204 that was last week"))
    failing = asyncio.create_task(house.refused("Wake", pb.WakeRequest(name="one")))
    await house.fleet.until("wake")
    await house.fleet.becomes("one", State.ASLEEP, failure="TPR-2202 none in zone b")
    error = await asyncio.wait_for(failing, LONG)
    assert (error.code(), code(error)) == (grpc.StatusCode.UNAVAILABLE, "TPR-2202")
    assert "none in zone b" in error.details()


async def test_a_caller_that_hangs_up_stops_no_wake(control) -> None:
    house = await control(asleep())
    house.fleet.gate.clear()
    call = house.stub.Wake(pb.WakeRequest(name="one"), metadata=house.token, timeout=LONG)
    await asyncio.wait_for(house.fleet.until("wake"), LONG)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call.read()
    # The node has heard of it when nothing of the call is left; only then may the wake go on.
    async with asyncio.timeout(LONG):
        await house.server.quiet()
    house.fleet.gate.set()
    async with asyncio.timeout(LONG):
        async for seen in house.fleet.follow(house.fleet.named("one").id):
            if seen.state is State.WAKING:
                break


async def test_a_caller_that_hangs_up_is_no_watcher_any_more(control) -> None:
    house = await control(asleep(), watchers=1)
    for _ in range(3):
        call = house.stub.Follow(pb.FollowRequest(name="one"), metadata=house.token, timeout=LONG)
        await call.read()
        call.cancel()
        async with asyncio.timeout(LONG):
            await house.server.quiet()
    assert house.fleet.followers == 0


async def test_one_org_cannot_take_every_place(control, code) -> None:
    house = await control(asleep(), asleep("one", GLOBEX), watchers=2)
    calls = [
        house.stub.Follow(pb.FollowRequest(name="one"), metadata=house.token, timeout=LONG)
        for _ in range(2)
    ]
    for call in calls:
        await call.read()
    error = await house.refused("Wake", pb.WakeRequest(name="one"))
    assert (error.code(), code(error)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TPR-3101")
    theirs = house.stub.Follow(
        pb.FollowRequest(name="one"), metadata=(("satellite_token", "globex"),), timeout=LONG
    )
    assert (await theirs.read()).satellite.org == "globex"
    for call in (*calls, theirs):
        call.cancel()


async def test_a_sleep_is_told_from_its_start_to_its_end(control) -> None:
    house = await control(satellite())
    states: list[int] = []
    async for each in house.stub.Sleep(
        pb.SleepRequest(name="one"), metadata=house.token, timeout=LONG
    ):
        if not states:
            assert each.waiting_for == "the machine is falling asleep"
            await house.fleet.becomes("one", State.ASLEEP)
        states.append(each.satellite.state)
    assert (states[0], states[-1]) == (pb.STATE_SLEEPING, pb.STATE_ASLEEP)


async def test_a_sleep_is_refused_while_builds_run_unless_forced(control, code) -> None:
    house = await control(satellite(), by_itself=True)
    house.fleet.busy = True
    error = await house.refused("Sleep", pb.SleepRequest(name="one"))
    assert (error.code(), code(error)) == (grpc.StatusCode.FAILED_PRECONDITION, "TPR-2001")
    forced = house.stub.Sleep(
        pb.SleepRequest(name="one", force=True), metadata=house.token, timeout=LONG
    )
    assert [each.satellite.state async for each in forced][-1] == pb.STATE_ASLEEP


async def test_a_sleep_that_a_build_undid_says_so(control, code) -> None:
    house = await control(satellite())
    failing = asyncio.create_task(house.refused("Sleep", pb.SleepRequest(name="one")))
    await house.fleet.until("sleep")
    await house.fleet.becomes("one", State.RUNNING)
    error = await asyncio.wait_for(failing, LONG)
    assert (error.code(), code(error)) == (grpc.StatusCode.FAILED_PRECONDITION, "TPR-2101")


async def test_a_follower_sees_every_state_until_the_end(control) -> None:
    house = await control(asleep(), beat=LONG)
    call = house.stub.Follow(pb.FollowRequest(name="one"), metadata=house.token, timeout=LONG)
    seen = [(await call.read()).satellite.state]
    for state in (State.WAKING, State.RUNNING, State.TERMINATING, State.TERMINATED):
        await house.fleet.becomes("one", state)
        seen.append((await call.read()).satellite.state)
    assert seen == [
        pb.STATE_ASLEEP,
        pb.STATE_WAKING,
        pb.STATE_RUNNING,
        pb.STATE_TERMINATING,
        pb.STATE_TERMINATED,
    ]
    assert await call.read() is grpc.aio.EOF
    assert house.fleet.asked == []
