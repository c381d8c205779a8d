"""The API as its callers see it: over gRPC, with a token, within their own org."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from imagined import ACME, GLOBEX, ImaginedCallers, ImaginedFleet, asleep, satellite

from torpor_provisioner.contract import Address
from torpor_provisioner.errors import Capacity
from torpor_router.control.edge import SERVICE
from torpor_router.control.server import ControlServer
from torpor_router.control.v1 import torpor_pb2 as pb
from torpor_router.control.v1 import torpor_pb2_grpc as rpc
from torpor_statemachine.database import DatabaseAway
from torpor_statemachine.model import State

LONG = 30.0  # seconds; how long anything may take before a test calls it broken

REQUESTS: dict[str, Any] = {
    "Launch": pb.LaunchRequest(name="new"),
    "List": pb.ListRequest(),
    "Get": pb.GetRequest(name="one"),
    "Update": pb.UpdateRequest(name="one", size="large"),
    "Repair": pb.RepairRequest(name="one"),
    "Terminate": pb.TerminateRequest(name="one"),
    "Wake": pb.WakeRequest(name="one"),
    "Sleep": pb.SleepRequest(name="one"),
    "Follow": pb.FollowRequest(name="one"),
    "Transitions": pb.TransitionsRequest(name="one"),
}
NAMED = sorted(set(REQUESTS) - {"Launch", "List"})


def test_every_method_of_the_service_is_tried_here() -> None:
    assert [method.name for method in SERVICE.methods if method.name not in REQUESTS] == []


@pytest.mark.parametrize("method", REQUESTS)
@pytest.mark.parametrize(
    "metadata",
    [
        (),
        (("authorization", "Bearer wrong"),),
        (("authorization", "Basic acme"),),
        (("authorization", "Bearer"),),
        (("authorization", "acme"),),
        (("satellite_token", ""),),
        (("satellite_token", "wrong"), ("authorization", "Bearer acme")),
        (("authorization", "Bearer wrong"), ("authorization", "Bearer acme")),
        (("satellite_token", "a" * 5000),),
    ],
    ids=str,
)
async def test_strangers_are_turned_away(control, code, method, metadata) -> None:
    house = await control(asleep())
    error = await house.refused(method, REQUESTS[method], metadata=metadata)
    assert (error.code(), code(error)) == (grpc.StatusCode.UNAUTHENTICATED, "TPR-1003")
    assert house.fleet.asked == []


@pytest.mark.parametrize(
    "metadata",
    [
        (("authorization", "Bearer acme"),),
        (("authorization", "bearer  acme"),),
        (("satellite_token", "acme"), ("authorization", "Basic for-somebody-else")),
    ],
    ids=str,
)
async def test_a_token_comes_as_at_the_door(control, metadata) -> None:
    house = await control(asleep())
    reply = await house.stub.Get(pb.GetRequest(name="one"), metadata=metadata, timeout=LONG)
    assert reply.satellite.name == "one"


@pytest.mark.parametrize("method", NAMED)
async def test_another_orgs_satellite_is_as_unknown_as_none(control, code, method) -> None:
    house = await control(asleep("one", GLOBEX), asleep("mine", ACME))
    error = await house.refused(method, REQUESTS[method])
    assert (error.code(), code(error)) == (grpc.StatusCode.NOT_FOUND, "TPR-2009")
    assert house.fleet.asked == []


@pytest.mark.parametrize("method", NAMED)
async def test_a_name_that_cannot_be(control, code, method) -> None:
    house = await control(asleep())
    request = type(REQUESTS[method])()
    request.CopyFrom(REQUESTS[method])
    request.name = "globex/one"
    error = await house.refused(method, request)
    assert (error.code(), code(error)) == (grpc.StatusCode.INVALID_ARGUMENT, "TPR-1301")


@pytest.mark.parametrize("method", REQUESTS)
async def test_a_database_that_is_away_is_told_as_such(control, code, method) -> None:
    house = await control(asleep())
    house.fleet.failure = DatabaseAway("ConnectionRefusedError")
    error = await house.refused(method, REQUESTS[method])
    assert (error.code(), code(error)) == (grpc.StatusCode.UNAVAILABLE, "TPR-5205")


@pytest.mark.parametrize("method", REQUESTS)
async def test_what_nobody_expected_is_logged_and_not_told(control, code, method, caplog) -> None:
    house = await control(asleep())
    house.callers.failure = ZeroDivisionError("secret")
    error = await house.refused(method, REQUESTS[method])
    assert (error.code(), code(error)) == (grpc.StatusCode.INTERNAL, "TPR-5301")
    assert "secret" not in (error.details() or "")
    assert "ZeroDivisionError: secret" in caplog.text


async def test_a_long_detail_is_cut_and_the_remedy_kept(control) -> None:
    house = await control(asleep())
    house.fleet.failure = Capacity("ö" * 100_000)
    error = await house.refused("Get", pb.GetRequest(name="one"))
    assert "öö..." in error.details()
    assert error.details().endswith(Capacity.remedy)


async def test_a_request_too_large_is_refused(control) -> None:
    house = await control(asleep())
    request = pb.LaunchRequest(name="new", settings={"a": "x" * 100_000})
    error = await house.refused("Launch", request)
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert house.fleet.asked == []


async def test_metadata_too_large_is_refused(control) -> None:
    house = await control(asleep())
    metadata = (*house.token, ("x-much", "x" * 20_000))
    error = await house.refused("Get", REQUESTS["Get"], metadata=metadata)
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_launch_list_get_update_terminate(control, code) -> None:
    house = await control(asleep("zwei"), satellite("theirs", GLOBEX))
    stub, options = house.stub, {"metadata": house.token, "timeout": LONG}
    request = pb.LaunchRequest(name="eins", arch=pb.ARCH_ARM64, size="small")
    made = (await stub.Launch(request, **options)).satellite
    assert (made.org, made.name, made.state) == ("acme", "eins", pb.STATE_LAUNCHING)
    assert made.arch == pb.ARCH_ARM64
    error = await house.refused("Launch", request)
    assert (error.code(), code(error)) == (grpc.StatusCode.ALREADY_EXISTS, "TPR-2003")

    listed = await stub.List(pb.ListRequest(), **options)
    assert [each.name for each in listed.satellites] == ["eins", "zwei"]

    change = pb.UpdateRequest(
        name="zwei", size="", sleep_after=Duration(seconds=60), sleep_mode=pb.SLEEP_MODE_STOP
    )
    changed = (await stub.Update(change, **options)).satellite
    assert changed.sleep_after.ToSeconds() == 60
    assert house.fleet.changes[0].size == ""

    await house.fleet.becomes("zwei", State.RUNNING)
    error = await house.refused("Terminate", pb.TerminateRequest(name="zwei"))
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    ended = await stub.Terminate(pb.TerminateRequest(name="zwei", force=True), **options)
    assert ended.satellite.state == pb.STATE_TERMINATING
    await house.fleet.becomes("zwei", State.TERMINATED)
    error = await house.refused("Get", pb.GetRequest(name="zwei"))
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert {actor for _, _, actor in house.fleet.asked} == {"token:ci"}


async def test_repair(control, code) -> None:
    house = await control(asleep())
    error = await house.refused("Repair", pb.RepairRequest(name="one"))
    assert (error.code(), code(error)) == (grpc.StatusCode.FAILED_PRECONDITION, "TPR-2010")
    await house.fleet.becomes("one", State.FAILED, failure="TPR-2205 i-1")
    shown = await house.stub.Get(pb.GetRequest(name="one"), metadata=house.token, timeout=LONG)
    assert shown.satellite.failure == "TPR-2205 i-1"
    error = await house.refused("Wake", pb.WakeRequest(name="one"))
    assert (error.code(), code(error)) == (grpc.StatusCode.FAILED_PRECONDITION, "TPR-2007")
    reply = await house.stub.Repair(
        pb.RepairRequest(name="one"), metadata=house.token, timeout=LONG
    )
    assert reply.satellite.generation == 2


async def test_the_log_is_told_newest_first(control, code) -> None:
    house = await control(asleep())
    for state in (State.WAKING, State.RUNNING, State.SLEEPING, State.ASLEEP):
        await house.fleet.becomes("one", state)
    request = pb.TransitionsRequest(name="one", limit=3)
    reply = await house.stub.Transitions(request, metadata=house.token, timeout=LONG)
    assert [each.target for each in reply.transitions] == [
        pb.STATE_ASLEEP,
        pb.STATE_SLEEPING,
        pb.STATE_RUNNING,
    ]
    woke = reply.transitions[2]
    assert (woke.actor, woke.reason, woke.took.ToMilliseconds()) == ("token:ci", "asked", 2500)
    error = await house.refused("Transitions", pb.TransitionsRequest(name="one", limit=1001))
    assert (error.code(), code(error)) == (grpc.StatusCode.INVALID_ARGUMENT, "TPR-1304")


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
    assert told[0].waiting_for == "the machine is starting (resumed memory), 0 s"
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
    lines = []
    async for each in house.stub.Wake(
        pb.WakeRequest(name="one"), metadata=house.token, timeout=LONG
    ):
        if not lines:
            await house.fleet.becomes("one", State.ASLEEP)
        if each.satellite.state == pb.STATE_WAKING and len(lines) > 2:
            await house.fleet.becomes("one", State.RUNNING)
        lines.append(each.waiting_for.partition(",")[0])
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
    states = []
    async for each in house.stub.Sleep(
        pb.SleepRequest(name="one"), metadata=house.token, timeout=LONG
    ):
        if not states:
            assert each.waiting_for == "the machine is falling asleep, 0 s"
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


async def test_a_drain_sends_watchers_away_and_turns_health(control, code) -> None:
    house = await control(asleep())
    probe = health_pb2_grpc.HealthStub(house.channel)
    for service in ("", SERVICE.full_name):
        reply = await probe.Check(health_pb2.HealthCheckRequest(service=service), timeout=LONG)
        assert reply.status == health_pb2.HealthCheckResponse.SERVING
    watching = asyncio.create_task(house.refused("Follow", pb.FollowRequest(name="one")))
    async with asyncio.timeout(LONG):
        while not house.fleet.followers:
            await asyncio.sleep(0.01)
    await asyncio.wait_for(house.server.drain(LONG), LONG / 2)
    error = await watching
    assert (error.code(), code(error)) == (grpc.StatusCode.UNAVAILABLE, "TPR-5001")
    reply = await probe.Check(
        health_pb2.HealthCheckRequest(service=SERVICE.full_name), timeout=LONG
    )
    assert reply.status == health_pb2.HealthCheckResponse.NOT_SERVING
    error = await house.refused("Get", pb.GetRequest(name="one"))
    assert code(error) == "TPR-5001"


async def _end_of(call: Any) -> None:
    async for _ in call:
        pass


async def test_a_drain_ends_whoever_watches_health(control, code) -> None:
    house = await control()
    watch = health_pb2_grpc.HealthStub(house.channel).Watch(
        health_pb2.HealthCheckRequest(), timeout=LONG
    )
    assert (await anext(aiter(watch))).status == health_pb2.HealthCheckResponse.SERVING
    await house.server.drain(LONG)
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await _end_of(watch)  # NOT_SERVING may come first
    assert (ended.value.code(), code(ended.value)) == (grpc.StatusCode.UNAVAILABLE, "TPR-5001")


async def test_a_drain_waits_no_longer_than_its_limit(control, caplog) -> None:
    house = await control(asleep())
    house.fleet.gate.clear()
    waiting = asyncio.create_task(house.refused("Wake", pb.WakeRequest(name="one")))
    await house.fleet.until("wake")
    await asyncio.wait_for(house.server.drain(0.05), LONG)
    assert "1 control calls" in caplog.text
    house.fleet.gate.set()
    await asyncio.wait_for(waiting, LONG)


async def test_the_services_can_be_listed(control) -> None:
    house = await control()
    call = reflection_pb2_grpc.ServerReflectionStub(house.channel).ServerReflectionInfo(
        iter([reflection_pb2.ServerReflectionRequest(list_services="")]), timeout=LONG
    )
    listed = {each.name async for reply in call for each in reply.list_services_response.service}
    assert {"torpor.v1.Satellites", "grpc.health.v1.Health"} <= listed


async def test_it_listens_on_a_socket_that_is_nobody_elses(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    path.write_text("left behind")
    path.unlink()
    server = ControlServer(ImaginedFleet(asleep()), ImaginedCallers())
    assert await server.start(path) == path
    assert path.stat().st_mode & 0o777 == 0o600
    async with grpc.aio.insecure_channel(f"unix:{path}") as channel:
        reply = await rpc.SatellitesStub(channel).Get(
            pb.GetRequest(name="one"), metadata=(("satellite_token", "acme"),), timeout=LONG
        )
    assert reply.satellite.state == pb.STATE_ASLEEP
    await server.aclose()
    assert not path.exists()


async def test_a_socket_that_was_left_behind_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    for _ in range(2):
        server = ControlServer(ImaginedFleet(), ImaginedCallers())
        await server.start(path)
        server._socket = None  # as if it had been killed
        await server.aclose()


async def test_where_it_cannot_listen_it_says_so(tmp_path: Path) -> None:
    first = ControlServer(ImaginedFleet(), ImaginedCallers())
    taken = await first.start(Address("127.0.0.1", 0))
    assert isinstance(taken, Address)
    second = ControlServer(ImaginedFleet(), ImaginedCallers())
    with pytest.raises(OSError, match="cannot listen"):
        await second.start(taken)
    with pytest.raises(ValueError, match="longer than"):
        await second.start(tmp_path / ("x" * 200))
    await second.aclose()
    await first.aclose()
