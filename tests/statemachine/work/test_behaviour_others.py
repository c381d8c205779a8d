"""Launching, repairing, updating and ending a machine."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from uuid import uuid4

import pytest
from fleetkit.cloud import Cloud
from fleetkit.databases import Forgetful
from fleetkit.world import QUICK, World
from waiting import until

from torpor_provisioner.contract import MachineState
from torpor_provisioner.errors import Capacity, Denied, Invalid, NotReady, Quota, TorporError
from torpor_statemachine.errors import (
    CannotChange,
    SatelliteFailed,
    WorkerSilent,
    WrongState,
)
from torpor_statemachine.fleet import Fleet
from torpor_statemachine.lifecycle.satellite import Satellite
from torpor_statemachine.lifecycle.specs import Changes, NewSatellite
from torpor_statemachine.lifecycle.states import SleepMode, State

BUDGET = 60.0


async def _launch(world: World, fleet: Fleet) -> Satellite:
    new = NewSatellite(org_id=world.org_id, name="one", provisioner="cloud")
    return await fleet.launch(new, actor="x")


# --- Launch


async def test_a_lost_answer_launches_one_machine(world: World) -> None:
    fleet = await world.node()
    world.cloud.lose("launch", Capacity("?"), OSError("?"))
    satellite = await _launch(world, fleet)
    await world.reaches(fleet, satellite.id, State.RUNNING)
    assert len(world.cloud.machines) == 1


@pytest.mark.parametrize("refusal", [Quota, Denied, Invalid])
async def test_a_launch_that_cannot_succeed_fails_at_once(
    world: World, refusal: type[TorporError]
) -> None:
    fleet = await world.node()
    world.cloud.fail("launch", refusal("no"))
    satellite = await _launch(world, fleet)
    failed = await world.reaches(fleet, satellite.id, State.FAILED)
    assert failed.failure == f"{refusal.code} no"
    with pytest.raises(SatelliteFailed, match=f"{refusal.code} .*no"):
        await fleet.admit(satellite.id, actor="x", budget=BUDGET)
    await fleet.repair(satellite.id, actor="x")
    await world.reaches(fleet, satellite.id, State.RUNNING)


async def test_a_launched_worker_that_never_answers(world: World) -> None:
    fleet = await world.node(replace(QUICK, launch=1.0, safety=0.2))
    gate = world.cloud.hold("launch")
    satellite = await _launch(world, fleet)
    world.cloud.silent.add(f"m-{satellite.id}/1")
    gate.set()
    failed = await world.reaches(fleet, satellite.id, State.FAILED)
    assert failed.failure.startswith(WorkerSilent.code)
    repaired = await fleet.repair(satellite.id, actor="x")
    assert repaired.generation == 2
    running = await world.reaches(fleet, satellite.id, State.RUNNING)
    old = world.cloud.machines[f"m-{satellite.id}/1"]
    assert old.state is MachineState.GONE  # ended before the new one was made
    assert [name for name, _ in world.cloud.calls] == ["launch", "terminate", "launch"]
    assert running.failure is None


async def test_a_repair_goes_on_though_the_old_machine_cannot_be_ended(world: World) -> None:
    fleet = await world.node(replace(QUICK, launch=1.0, safety=0.2, orphans=3600.0))
    gate = world.cloud.hold("launch")
    satellite = await _launch(world, fleet)
    old = f"m-{satellite.id}/1"
    world.cloud.silent.add(old)
    gate.set()
    await world.reaches(fleet, satellite.id, State.FAILED)
    world.cloud.fail("terminate", RuntimeError("a fault"))
    await fleet.repair(satellite.id, actor="x")
    await world.reaches(fleet, satellite.id, State.RUNNING)
    await fleet._reconciler.end_orphans()
    assert world.cloud.machines[old].state is MachineState.RUNNING  # seen once
    await asyncio.sleep(0)
    await world.database.execute("update orphans set first_seen = now() - interval '1 day'")
    await fleet._reconciler.end_orphans()
    assert world.cloud.machines[old].state is MachineState.GONE


async def test_two_repairs_launch_once(world: World) -> None:
    nodes = [await world.node() for _ in range(2)]
    world.cloud.fail("launch", Denied("no"))
    satellite = await _launch(world, nodes[0])
    await world.reaches(nodes[0], satellite.id, State.FAILED)
    told = await asyncio.gather(
        *(node.repair(satellite.id, actor="x") for node in nodes), return_exceptions=True
    )
    assert sorted(isinstance(one, WrongState) for one in told) == [False, True]
    assert (await world.reaches(nodes[0], satellite.id, State.RUNNING)).generation == 2
    assert world.cloud.count("launch") == 1


# --- Update


async def test_an_update_reaches_the_machine_and_then_the_row(world: World) -> None:
    fleet = await world.node()
    satellite = await world.asleep(fleet, mode=SleepMode.STOP)
    gate = world.cloud.hold("resize")
    updating = await fleet.update(
        satellite.id, Changes(size="big", settings={"image": "new"}), actor="x"
    )
    assert (updating.state, updating.size, updating.wanted.size) == (State.UPDATING, "", "big")
    waiting = asyncio.create_task(fleet.admit(satellite.id, actor="x", budget=BUDGET))
    gate.set()
    await waiting  # a request that came meanwhile wakes it afterwards
    fleet.leave(satellite.id)
    updated = await world.now(fleet)
    assert (updated.size, updated.settings, updated.wanted) == ("big", {"image": "new"}, None)
    machine = world.cloud.machines[satellite.ref]
    assert (machine.size, machine.settings) == ("big", {"image": "new"})


async def test_a_refused_update_changes_nothing(world: World) -> None:
    fleet = await world.node()
    satellite = await world.asleep(fleet, mode=SleepMode.STOP)
    world.cloud.fail("resize", NotReady("?"), Invalid("it is hibernated"))
    gate = world.cloud.hold("resize")
    await fleet.update(satellite.id, Changes(size="big"), actor="x")
    gate.set()
    asleep = await world.reaches(fleet, satellite.id, State.ASLEEP)
    assert (asleep.size, asleep.wanted) == ("", None)
    assert asleep.failure == "TPR-2207 it is hibernated"
    await fleet.admit(satellite.id, actor="x", budget=BUDGET)  # which is no reason not to wake
    fleet.leave(satellite.id)


async def test_an_update_of_a_machine_that_is_gone(world: World) -> None:
    fleet = await world.node(replace(QUICK, reconcile=3600.0))
    satellite = await world.asleep(fleet, mode=SleepMode.STOP)
    world.cloud.machines[satellite.ref].state = MachineState.GONE
    await fleet.update(satellite.id, Changes(size="big"), actor="x")
    lost = await world.reaches(fleet, satellite.id, State.FAILED)
    assert lost.wanted is None


class Unchangeable(Cloud):
    resize = None
    update = None


async def test_a_cloud_that_cannot_change_machines(world: World) -> None:
    world.cloud = Unchangeable()
    fleet = await world.node()
    satellite = await world.asleep(fleet)
    with pytest.raises(CannotChange):
        await fleet.update(satellite.id, Changes(size="big"), actor="x")
    assert (await world.now(fleet)).state is State.ASLEEP


# --- Terminate


@pytest.mark.parametrize("answer", [OSError("?"), Capacity("?")])
async def test_a_lost_answer_ends_it_once(world: World, answer: Exception) -> None:
    fleet = await world.node(kind=Forgetful)
    satellite = await world.launched(fleet)
    world.cloud.lose("terminate", answer)
    fleet._database.lose.append("ended")  # type: ignore[attr-defined]
    await fleet.terminate(satellite.id, actor="x")
    await world.reaches(fleet, satellite.id, State.TERMINATED)
    assert world.cloud.count("terminate") == 1


async def test_an_end_that_is_refused_can_be_tried_again(world: World) -> None:
    fleet = await world.node()
    satellite = await world.launched(fleet)
    world.cloud.fail("terminate", Denied("no"))
    await fleet.terminate(satellite.id, actor="x")
    failed = await world.reaches(fleet, satellite.id, State.FAILED)
    assert failed.failure == "TPR-2206 no"
    await fleet.terminate(satellite.id, actor="x")
    await world.reaches(fleet, satellite.id, State.TERMINATED)


async def test_a_machine_whose_name_was_never_learned_is_ended_too(world: World) -> None:
    once = replace(QUICK, launch=0.8, safety=0.2, first_retry=5.0)  # no time for a second try
    fleet = await world.node(once)
    world.cloud.lose("launch", Capacity("?"))
    satellite = await _launch(world, fleet)
    failed = await world.reaches(fleet, satellite.id, State.FAILED)
    assert failed.ref is None
    (machine,) = world.cloud.machines.values()
    assert machine.state is MachineState.RUNNING
    await fleet.terminate(satellite.id, actor="x")
    await world.reaches(fleet, satellite.id, State.TERMINATED)
    assert machine.state is MachineState.GONE


async def test_a_launch_that_may_never_end_is_given_up_by_force(world: World) -> None:
    nodes = [await world.node() for _ in range(2)]
    gate = world.cloud.hold_after("launch")
    satellite = await _launch(world, nodes[0])
    await until(lambda: world.cloud.machines)
    with pytest.raises(WrongState, match="launching"):
        await nodes[1].terminate(satellite.id, actor="x")
    await nodes[1].terminate(satellite.id, actor="x", force=True)
    await world.reaches(nodes[1], satellite.id, State.TERMINATED)
    await until(lambda: satellite.id not in nodes[0]._coordinator._work)
    gate.set()
    (machine,) = world.cloud.machines.values()
    assert machine.state is MachineState.GONE
    assert "launched" not in await world.events(nodes[0], satellite.id)


async def test_a_forced_end_tells_the_door(world: World) -> None:
    nodes = [await world.node() for _ in range(2)]
    satellite = await world.launched(nodes[0])
    await nodes[1].admit(satellite.id, actor="x", budget=BUDGET)
    told = asyncio.Event()
    nodes[1].on_sleep(lambda _: told.set())
    await nodes[0].terminate(satellite.id, actor="x", force=True)
    await asyncio.wait_for(told.wait(), BUDGET)
    nodes[1].leave(satellite.id)
    await until(lambda: not nodes[1]._lease_keeper.book._entries)


# --- Follow


async def test_follow_tells_each_state_and_ends_with_the_satellite(world: World) -> None:
    nodes = [await world.node() for _ in range(2)]
    satellite = await world.launched(nodes[0])
    seen: list[str] = []

    async def follow() -> None:
        async for now in nodes[1].follow(satellite.id):
            seen.append(now.state)  # noqa: PERF401 - read while it goes on

    following = asyncio.create_task(follow())
    await until(lambda: seen == [State.RUNNING])
    for step, end in (("sleep", State.ASLEEP), ("wake", State.RUNNING)):
        await getattr(nodes[0], step)(satellite.id, actor="x")
        await world.reaches(nodes[0], satellite.id, end)
        await until(lambda: seen[-1:] == [end])  # noqa: B023
    await nodes[0].terminate(satellite.id, actor="x")
    await following
    assert seen[-1] == State.TERMINATED
    assert not nodes[1]._notifier._subscriptions


async def test_there_is_nothing_to_follow(world: World) -> None:
    fleet = await world.node()
    with pytest.raises(TorporError, match="TPR-2009"):
        async for _ in fleet.follow(uuid4()):
            pass
    assert not fleet._notifier._subscriptions
