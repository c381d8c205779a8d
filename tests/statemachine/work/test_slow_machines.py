"""A machine slower than its budget comes up in the end."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from fleetkit.world import QUICK, World
from waiting import until

from torpor_provisioner.contract import MachineState
from torpor_provisioner.errors import Capacity, Unanswered
from torpor_statemachine.errors import WorkerSilent
from torpor_statemachine.lifecycle.states import State

BUDGET = 60.0
BRIEF = replace(QUICK, shortest_wake=1.0, longest_wake=100.0, safety=0.2, wake_factor=3.0)


async def test_what_is_still_coming_up_is_not_stopped(world: World) -> None:
    fleet = await world.node(BRIEF)
    satellite = await world.asleep(fleet)
    machine = world.cloud.machines[satellite.ref]
    machine.state = MachineState.PENDING
    request = asyncio.create_task(fleet.admit(satellite.id, actor="x", budget=BUDGET))
    await until(lambda: _took_over_twice(world, fleet, satellite.id))
    machine.state = MachineState.RUNNING
    await request
    fleet.leave(satellite.id)
    assert "wake_failed" not in await world.events(fleet, satellite.id)
    assert world.cloud.count("sleep") == 1  # at first


async def _took_over_twice(world: World, fleet: object, satellite_id: object) -> bool:
    return (await world.events(fleet, satellite_id)).count("took_over") == 2  # type: ignore[arg-type]


async def test_what_never_comes_up_is_stopped_at_last(world: World) -> None:
    fleet = await world.node(replace(BRIEF, longest_wake=2.5))
    satellite = await world.asleep(fleet)
    world.cloud.machines[satellite.ref].state = MachineState.PENDING
    with pytest.raises(WorkerSilent):
        await fleet.admit(satellite.id, actor="x", budget=BUDGET)
    assert (await world.events(fleet, satellite.id))[-2:] == ["took_over", "wake_failed"]


@pytest.mark.parametrize(
    ("usual", "failures", "budget"),
    [(None, 0, 1), (None, 1, 2), (None, 3, 8), (2, 0, 6), (2, 2, 24), (2, 30, 100), (900, 0, 100)],
)
async def test_each_failure_doubles_the_next_budget(
    world: World, usual: float | None, failures: int, budget: float
) -> None:
    fleet = await world.node(BRIEF)
    satellite = await world.asleep(fleet)
    await world.database.execute(
        "update satellites set usual_wake = make_interval(secs => $1), failures = $2",
        usual,
        failures,
    )
    world.cloud.hold("wake")
    await fleet.wake(satellite.id, actor="x")
    assert await _budget(world) == budget


async def _budget(world: World) -> float:
    seconds: float = await world.database.fetchval(
        "select extract(epoch from claim_deadline - state_since)::float8 from satellites"
    )
    return seconds


async def test_a_slow_worker_has_its_time_at_the_next_try(world: World) -> None:
    """It runs, and its worker takes longer than the first budget."""
    fleet = await world.node(replace(BRIEF, shortest_wake=1.5))
    satellite = await world.asleep(fleet)
    world.cloud.silent.add(satellite.ref)
    with pytest.raises(WorkerSilent):
        await fleet.admit(satellite.id, actor="x", budget=BUDGET)
    await world.reaches(fleet, satellite.id, State.ASLEEP)
    request = asyncio.create_task(fleet.admit(satellite.id, actor="x", budget=BUDGET))
    await world.entered("wake", 2)
    assert await _budget(world) == 3.0
    world.cloud.silent.clear()
    await request
    fleet.leave(satellite.id)


async def test_a_call_of_unknown_effect_is_settled_by_a_machine_that_runs(world: World) -> None:
    """Its worker is silent: that is no reason to wait for another claim."""
    fleet = await world.node(replace(BRIEF, longest_wake=1.0))
    satellite = await world.asleep(fleet)
    world.cloud.silent.add(satellite.ref)
    world.cloud.lose("wake", Unanswered("?"))
    with pytest.raises(WorkerSilent):
        await fleet.admit(satellite.id, actor="x", budget=BUDGET)
    await world.reaches(fleet, satellite.id, State.ASLEEP)
    assert (await world.events(fleet, satellite.id))[-3:] == ["wake", "wake_failed", "slept"]


async def test_nothing_is_learned_where_the_cloud_was_in_the_way(world: World) -> None:
    fleet = await world.node(BRIEF)
    satellite = await world.asleep(fleet)
    await world.database.execute("update satellites set usual_wake = interval '1 millisecond'")
    world.cloud.fail("wake", Capacity("none"))
    await fleet.admit(satellite.id, actor="x", budget=BUDGET)
    fleet.leave(satellite.id)
    usual = await world.database.fetchval("select usual_wake from satellites")
    assert usual.total_seconds() == 0.001
