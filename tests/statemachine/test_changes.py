"""A change of size or settings does what it takes by itself, and harms nobody meanwhile."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from fleetkit.world import QUICK, World
from waiting import until

from torpor_provisioner.contract import MachineState, SleepKind
from torpor_provisioner.errors import Capacity, Denied, Invalid, Unanswered
from torpor_statemachine.errors import WorkerSilent, WrongState
from torpor_statemachine.fleet import Fleet
from torpor_statemachine.lifecycle.satellite import Satellite
from torpor_statemachine.lifecycle.specs import Changes
from torpor_statemachine.lifecycle.states import SleepMode, State

BUDGET = 60.0
BIG = Changes(size="big", settings={"cache": "200"})


async def _changed(world: World, fleet: Fleet, satellite: Satellite) -> Satellite:
    async with asyncio.timeout(BUDGET):
        async for now in fleet.follow(satellite.id):
            if now.state is State.ASLEEP and now.wanted is None:
                assert (now.size, now.settings) == ("big", {"cache": "200"})
                machine = world.cloud.machines[satellite.ref]
                assert (machine.size, machine.settings) == ("big", {"cache": "200"})
                return now
    raise AssertionError


async def _steps(world: World, fleet: Fleet, satellite: Satellite) -> list[str]:
    events = await world.events(fleet, satellite.id)
    return events[events.index("slept") + 1 :]


async def test_of_a_hibernated_satellite(world: World) -> None:
    """It is woken, stopped, and changed; and hibernates again after its next build."""
    fleet = await world.node()
    satellite = await world.asleep(fleet)
    assert satellite.sleep_kind is SleepKind.HIBERNATED
    told = await fleet.update(satellite.id, BIG, actor="ann")
    assert told.wanted is not None
    done = await _changed(world, fleet, satellite)
    assert done.sleep_kind is SleepKind.STOPPED
    steps = await _steps(world, fleet, satellite)
    assert steps == ["wake", "woke", "sleep", "slept", "update", "updated"]
    log = await world.log(fleet, satellite.id)
    assert [step.actor for step in log if step.event in ("wake", "update")] == ["ann", "ann"]
    await fleet.admit(satellite.id, actor="x", budget=BUDGET)
    fleet.leave(satellite.id)
    await until(lambda: _slept(fleet, satellite))
    assert (await world.now(fleet)).sleep_kind is SleepKind.HIBERNATED


async def _slept(fleet: Fleet, satellite: Satellite) -> bool:
    return (await fleet.sleep(satellite.id, actor="x")).state is State.ASLEEP


async def test_of_when_and_how_it_sleeps_stands_in_the_history(world: World) -> None:
    fleet = await world.node()
    satellite = await world.launched(fleet)
    changes = Changes(sleep_after=timedelta(hours=2), sleep_mode=SleepMode.STOP)
    told = await fleet.update(satellite.id, changes, actor="ann")
    assert (told.state, told.sleep_after) == (State.RUNNING, timedelta(hours=2))
    [step, *_] = await fleet.history(satellite.id, 1)
    assert (step.event, step.source, step.target, step.actor, step.reason) == (
        *("changed", State.RUNNING, State.RUNNING),
        *("ann", "asked"),
    )
    assert step.detail == "sleep mode stop, sleep after 2:00:00"


async def test_of_an_idle_satellite_that_runs(world: World) -> None:
    fleet = await world.node()
    satellite = await world.launched(fleet)
    await fleet.update(satellite.id, BIG, actor="ann")
    done = await _changed(world, fleet, satellite)
    assert done.sleep_kind is SleepKind.STOPPED
    assert (await world.events(fleet, satellite.id))[2:] == ["sleep", "slept", "update", "updated"]


async def test_of_a_stopped_satellite_wakes_nothing(world: World) -> None:
    fleet = await world.node()
    satellite = await world.asleep(fleet, mode=SleepMode.STOP)
    await fleet.update(satellite.id, BIG, actor="ann")
    await _changed(world, fleet, satellite)
    assert await _steps(world, fleet, satellite) == ["update", "updated"]


async def test_under_open_streams_it_waits_for_the_next_sleep(world: World) -> None:
    fleet = await world.node()
    satellite = await world.launched(fleet, sleep_after=1)
    await fleet.admit(satellite.id, actor="x", budget=BUDGET)
    told = await fleet.update(satellite.id, BIG, actor="ann")
    assert (told.state, told.wanted is not None) == (State.RUNNING, True)
    again = await fleet.update(satellite.id, Changes(settings={"cache": "200"}), actor="bob")
    assert (again.wanted.size, again.wanted.by) == ("big", "bob")  # on top of what was asked for
    assert world.cloud.count("sleep") == 0
    fleet.leave(satellite.id)
    await _changed(world, fleet, satellite)


@pytest.mark.parametrize("state", [State.SLEEPING, State.WAKING])
async def test_of_a_satellite_on_its_way(world: World, state: State) -> None:
    fleet = await world.node()
    satellite = await world.asleep(fleet)
    waking = state is State.WAKING
    if waking:
        world.cloud.silent.add(satellite.ref)
        await fleet.wake(satellite.id, actor="x")
    else:
        await fleet.wake(satellite.id, actor="x")
        await world.reaches(fleet, satellite.id, State.RUNNING)
        world.cloud.slow.add(satellite.ref)
        await fleet.sleep(satellite.id, actor="x")
    await until(lambda: _is(world, fleet, state))
    told = await fleet.update(satellite.id, BIG, actor="ann")
    assert told.wanted is not None
    world.cloud.silent.clear()
    world.cloud.slow.clear()
    machine = world.cloud.machines[satellite.ref]
    if machine.state is MachineState.STOPPING:
        machine.state = MachineState.ASLEEP
    await _changed(world, fleet, satellite)


async def _is(world: World, fleet: Fleet, state: State) -> bool:
    now = (await world.now(fleet)).state
    machine = next(iter(world.cloud.machines.values())).state
    return now is state and (state is State.WAKING or machine is MachineState.STOPPING)


async def test_a_build_that_comes_meanwhile_is_served(world: World) -> None:
    fleet = await world.node()
    satellite = await world.asleep(fleet)
    gate = world.cloud.hold("resize")
    await fleet.update(satellite.id, BIG, actor="ann")
    await world.entered("resize")
    build = asyncio.create_task(fleet.admit(satellite.id, actor="x", budget=BUDGET))
    gate.set()
    await build
    fleet.leave(satellite.id)
    now = await world.now(fleet)
    assert (now.state, now.size, now.wanted) == (State.RUNNING, "big", None)


async def test_a_node_that_dies_leaves_it_to_another(world: World) -> None:
    nodes = [await world.node() for _ in range(2)]
    satellite = await world.asleep(nodes[0])
    world.cloud.hold_after("wake")
    world.cloud.silent.add(satellite.ref)
    await nodes[0].update(satellite.id, BIG, actor="ann")
    await world.entered("wake")
    await world.crash(nodes[0])
    world.cloud.gates.clear()
    world.cloud.silent.clear()
    await _changed(world, nodes[1], satellite)


async def test_one_left_between_two_steps_is_taken_up(world: World) -> None:
    """Its node died after the stop and before the change."""
    fleet = await world.node()
    satellite = await world.asleep(fleet, mode=SleepMode.STOP)
    await world.database.execute(
        """update satellites set
            wanted = '{"size": "big", "settings": {"cache": "200"}, "by": "ann"}'"""
    )
    await _changed(world, fleet, satellite)


@pytest.mark.parametrize("call", ["wake", "sleep", "resize"])
async def test_what_the_cloud_refuses_ends_it(world: World, call: str) -> None:
    fleet = await world.node()
    satellite = await (world.launched(fleet) if call == "sleep" else world.asleep(fleet))
    world.cloud.fail(call, Denied("no"))
    await fleet.update(satellite.id, BIG, actor="ann")
    await until(lambda: _given_up(world, fleet))
    now = await world.now(fleet)
    assert (now.size, now.failure) == ("", "TPR-2206 no")
    before = world.cloud.entered[call]
    await fleet._reconciler.change_wanted()
    assert world.cloud.entered[call] == before


async def _given_up(world: World, fleet: Fleet) -> bool:
    now = await world.now(fleet)
    return now.wanted is None and now.failure is not None


async def test_a_worker_that_stays_silent_ends_it(world: World) -> None:
    fleet = await world.node(replace(QUICK, shortest_wake=1.0, longest_wake=1.0, safety=0.2))
    satellite = await world.asleep(fleet)
    world.cloud.silent.add(satellite.ref)
    await fleet.update(satellite.id, BIG, actor="ann")
    await until(lambda: _given_up(world, fleet))
    assert (await world.now(fleet)).failure.startswith(WorkerSilent.code)


async def test_one_that_is_launching_is_waited_for(world: World) -> None:
    fleet = await world.node()
    world.cloud.hold("launch")
    launching = asyncio.create_task(world.launched(fleet))
    await world.entered("launch")
    satellite = await world.now(fleet)
    with pytest.raises(WrongState, match="is launching"):
        await fleet.update(satellite.id, BIG, actor="x")
    world.cloud.gates.clear()
    await launching


# --- Checked beforehand


async def test_a_launch_that_could_never_be_leaves_no_name_behind(world: World) -> None:
    fleet = await world.node()
    world.cloud.unknown_sizes.add("")
    with pytest.raises(Invalid, match="there is no size"):
        await world.launched(fleet)
    assert await fleet.list(world.org_id) == []
    assert "launch" not in world.cloud.entered


@pytest.mark.parametrize("fault", [Unanswered("?"), Capacity("?"), RuntimeError("?")])
async def test_a_cloud_that_cannot_check_now_is_not_waited_for(
    world: World, fault: Exception
) -> None:
    fleet = await world.node()
    world.cloud.fail("check", fault)
    await world.launched(fleet)


@pytest.mark.parametrize("asleep", [False, True])
async def test_a_change_that_could_never_be_changes_nothing(world: World, asleep: bool) -> None:
    fleet = await world.node()
    satellite = await (world.asleep(fleet) if asleep else world.launched(fleet))
    world.cloud.unknown_sizes.add("huge")
    before = await world.now(fleet)
    with pytest.raises(Invalid):
        await fleet.update(satellite.id, Changes(size="huge"), actor="x")
    assert replace(await world.now(fleet), state_age=0) == replace(before, state_age=0)


# --- Of a satellite that has failed


async def test_a_failed_satellite_is_corrected_and_repaired(world: World) -> None:
    fleet = await world.node()
    world.cloud.fail("launch", Invalid("no such setting"))
    failed = await _failed(world, fleet)
    assert failed.failure == "TPR-2207 no such setting"
    corrected = await fleet.update(failed.id, BIG, actor="ann")
    assert (corrected.state, corrected.size, corrected.wanted) == (State.FAILED, "big", None)
    log = await world.log(fleet, failed.id)
    assert (log[-1].event, log[-1].actor) == ("corrected", "ann")
    await fleet.repair(failed.id, actor="ann")
    running = await world.reaches(fleet, failed.id, State.RUNNING)
    machine = world.cloud.machines[running.ref]
    assert (machine.size, machine.settings) == ("big", {"cache": "200"})


async def _failed(world: World, fleet: Any) -> Satellite:
    launching = asyncio.create_task(world.launched(fleet))
    await until(lambda: _has_failed(world, fleet))
    launching.cancel()
    return await world.now(fleet)


async def _has_failed(world: World, fleet: Fleet) -> bool:
    found = await fleet.find(world.org_id, "one")
    return found is not None and found.state is State.FAILED
