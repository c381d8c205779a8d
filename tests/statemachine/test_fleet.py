"""A satellite's life through the facade: one node, or several at once."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from fleetkit.world import QUICK
from waiting import LONG, until

from torpor_provisioner.contract import Arch, SleepKind
from torpor_statemachine.errors import (
    NameTaken,
    SatelliteBusy,
    SatelliteEnding,
    UnknownProvisioner,
    UnknownSatellite,
    WrongState,
)
from torpor_statemachine.lifecycle.specs import NewSatellite
from torpor_statemachine.lifecycle.states import SleepMode, State, WakeKind

BUDGET = 60.0


async def test_a_whole_life(world: Any) -> None:
    fleet = await world.node()
    satellite = await world.launched(fleet)
    assert satellite.full_name == "acme/one"
    assert (await fleet.find(world.org_id, "one")).id == satellite.id
    await fleet.sleep(satellite.id, actor="ann")
    asleep = await world.reaches(fleet, satellite.id, State.ASLEEP)
    assert asleep.sleep_kind is SleepKind.HIBERNATED
    await fleet.wake(satellite.id, actor="ann")
    await world.reaches(fleet, satellite.id, State.RUNNING)
    await fleet.terminate(satellite.id, actor="ann")
    await world.reaches(fleet, satellite.id, State.TERMINATED)
    assert await fleet.find(world.org_id, "one") is None
    assert await world.events(fleet, satellite.id) == [
        "launch",
        "launched",
        "sleep",
        "slept",
        "wake",
        "woke",
        "terminate",
        "ended",
    ]
    assert [name for name, _ in world.cloud.calls] == ["launch", "sleep", "wake", "terminate"]


async def test_many_requests_on_many_nodes_wake_it_once(world: Any) -> None:
    nodes = [await world.node() for _ in range(3)]
    satellite = await world.asleep(nodes[0])
    goes_on = world.cloud.hold("wake")
    admissions = asyncio.gather(
        *(
            nodes[number % 3].admit(satellite.id, actor=f"caller {number}", budget=BUDGET)
            for number in range(300)
        )
    )
    # A node that looks for the first time when it runs calls it hot
    await until(lambda: all(node.outlook(satellite.id) for node in nodes))
    goes_on.set()
    admitted = await admissions
    assert {one.wake_kind for one in admitted} == {WakeKind.RESUMED}
    assert {one.epoch for one in admitted} == {satellite.epoch + 1}
    assert world.cloud.count("wake") == 1
    assert (await world.events(nodes[1], satellite.id)).count("woke") == 1
    for number in range(300):
        nodes[number % 3].leave(satellite.id)


async def test_the_first_stream_takes_the_lease_and_the_next_cost_no_query(world: Any) -> None:
    fleet = await world.node()
    satellite = await world.launched(fleet)
    assert fleet.enter(satellite.id) is None
    first = await fleet.admit(satellite.id, actor="x", budget=BUDGET)
    assert first.wake_kind is WakeKind.HOT
    before = world.database.queries
    for _ in range(1000):
        assert fleet.enter(satellite.id) is not None
    for _ in range(1001):
        fleet.leave(satellite.id)
    assert world.database.queries == before


async def test_to_look_whether_it_runs_does_not_keep_it_awake(world: Any) -> None:
    nodes = [await world.node() for _ in range(2)]
    satellite = await world.launched(nodes[0], sleep_after=1)
    assert nodes[1].running_now(satellite.id) is None
    running = await nodes[1].running(satellite.id)
    assert (running.address, running.epoch) == (satellite.address, satellite.epoch)
    await nodes[0].admit(satellite.id, actor="x", budget=BUDGET)
    assert nodes[0].running_now(satellite.id) == running
    nodes[0].leave(satellite.id)
    deadline = asyncio.get_running_loop().time() + BUDGET
    while await nodes[1].running(satellite.id) is not None:  # ever and again
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.1)
    slept = await world.reaches(nodes[0], satellite.id, State.ASLEEP)
    assert nodes[0].running_now(satellite.id) is None
    assert slept.epoch > satellite.epoch


@pytest.mark.parametrize(
    ("arch", "mode", "kind"),
    [
        (Arch.X86_64, SleepMode.AUTO, SleepKind.HIBERNATED),
        (Arch.ARM64, SleepMode.AUTO, SleepKind.STOPPED),
        (Arch.ARM64, SleepMode.HIBERNATE, SleepKind.HIBERNATED),
        (Arch.X86_64, SleepMode.STOP, SleepKind.STOPPED),
    ],
)
async def test_how_it_sleeps(world: Any, arch: Arch, mode: SleepMode, kind: SleepKind) -> None:
    fleet = await world.node()
    satellite = await world.asleep(fleet, arch=arch, mode=mode)
    assert satellite.sleep_kind is kind
    admitted = await fleet.admit(satellite.id, actor="x", budget=BUDGET)
    expected = {SleepKind.HIBERNATED: WakeKind.RESUMED, SleepKind.STOPPED: WakeKind.STARTED}
    assert admitted.wake_kind is expected[kind]
    fleet.leave(satellite.id)


async def test_idle_for_long_enough_it_falls_asleep_and_never_under_a_stream(world: Any) -> None:
    nodes = [await world.node() for _ in range(2)]
    satellite = await world.launched(nodes[0], sleep_after=1)
    await nodes[1].admit(satellite.id, actor="x", budget=BUDGET)
    asleep: list[object] = []
    nodes[1].on_sleep(asleep.append)
    await asyncio.sleep(3)  # three times as long as an idle one would live
    assert (await nodes[0].find(world.org_id, "one")).state is State.RUNNING
    assert not asleep
    nodes[1].leave(satellite.id)
    slept = await world.reaches(nodes[0], satellite.id, State.ASLEEP)
    assert slept.idle_since is None
    history = await nodes[0].history(satellite.id, 10)
    assert [(step.actor, step.reason) for step in history if step.event == "sleep"] == [
        ("reaper", "idle 1s")
    ]
    assert world.cloud.count("sleep") == 1


async def test_sleep_is_refused_under_a_stream_unless_forced(world: Any) -> None:
    nodes = [await world.node() for _ in range(2)]
    satellite = await world.launched(nodes[0])
    await nodes[1].admit(satellite.id, actor="x", budget=BUDGET)
    with pytest.raises(SatelliteBusy, match="acme/one"):
        await nodes[0].sleep(satellite.id, actor="ann")
    with pytest.raises(SatelliteBusy):
        await nodes[0].terminate(satellite.id, actor="ann")
    told = asyncio.Event()
    nodes[1].on_sleep(lambda _: told.set())
    await nodes[0].sleep(satellite.id, actor="ann", force=True)
    await asyncio.wait_for(told.wait(), BUDGET)
    assert nodes[1].enter(satellite.id) is None
    nodes[1].leave(satellite.id)


async def test_a_lease_of_a_stream_that_just_ended_does_not_make_it_busy(world: Any) -> None:
    # The one that is asked tries for so long; the other's lease outlives its stream by less
    nodes = [await world.node(replace(QUICK, linger=LONG)), await world.node()]
    satellite = await world.launched(nodes[0])
    await nodes[1].admit(satellite.id, actor="x", budget=BUDGET)
    nodes[1].leave(satellite.id)
    await nodes[0].sleep(satellite.id, actor="ann")
    await world.reaches(nodes[0], satellite.id, State.ASLEEP)


async def test_what_is_asked_for_twice_or_wrongly(world: Any) -> None:
    fleet = await world.node()
    satellite = await world.launched(fleet)
    new = NewSatellite(org_id=world.org_id, name="one", provisioner="cloud")
    with pytest.raises(NameTaken, match="TPR-2003"):
        await fleet.launch(new, actor="x")
    elsewhere = NewSatellite(org_id=world.org_id, name="two", provisioner="nowhere")
    with pytest.raises(UnknownProvisioner, match="nowhere"):
        await fleet.launch(elsewhere, actor="x")
    with pytest.raises(WrongState):
        await fleet.repair(satellite.id, actor="x")
    with pytest.raises(UnknownSatellite):
        await fleet.wake(world.org_id, actor="x")
    with pytest.raises(UnknownSatellite):
        await fleet.admit(world.org_id, actor="x", budget=BUDGET)
    assert (await fleet.wake(satellite.id, actor="x")).state is State.RUNNING
    await fleet.terminate(satellite.id, actor="x")
    await world.reaches(fleet, satellite.id, State.TERMINATED)
    with pytest.raises(SatelliteEnding):
        await fleet.admit(satellite.id, actor="x", budget=BUDGET)
    assert (await fleet.launch(new, actor="x")).id != satellite.id


async def test_a_fleet_works_behind_a_pooler(world: Any) -> None:
    nodes = [await world.node(poll_only=True) for _ in range(2)]
    satellite = await world.asleep(nodes[0])
    admitted = await asyncio.gather(
        *(node.admit(satellite.id, actor="x", budget=BUDGET) for node in nodes)
    )
    assert len(admitted) == 2
    assert world.cloud.count("wake") == 1
    for node in nodes:
        node.leave(satellite.id)
