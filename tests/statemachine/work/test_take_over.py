"""Work whose node died or came late is gone on with by another, from whatever it left behind."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from fleetkit.databases import Forgetful
from fleetkit.world import QUICK, World
from waiting import until

from torpor_provisioner.contract import MachineState
from torpor_statemachine.fleet import Fleet
from torpor_statemachine.lifecycle.satellite import Satellite
from torpor_statemachine.lifecycle.specs import Changes, NewSatellite
from torpor_statemachine.lifecycle.states import SleepMode, State

BUDGET = 60.0
DIED = "its node has died"


async def _asleep(world: World, fleet: Fleet) -> Satellite:
    return await world.asleep(fleet)


async def _stopped(world: World, fleet: Fleet) -> Satellite:
    return await world.asleep(fleet, mode=SleepMode.STOP)  # a hibernated one is woken first


async def _running(world: World, fleet: Fleet) -> Satellite:
    return await world.launched(fleet)


# Each passing state: how it is entered, the call that is under way, and where it is to end
TRANSIENT_STATES = {
    State.WAKING: (_asleep, "wake", State.RUNNING),
    State.SLEEPING: (_running, "sleep", State.ASLEEP),
    State.TERMINATING: (_running, "terminate", State.TERMINATED),
    State.UPDATING: (_stopped, "resize", State.ASLEEP),
}


async def _begin(fleet: Fleet, state: State, satellite: Satellite) -> None:
    match state:
        case State.WAKING:
            await fleet.wake(satellite.id, actor="x")
        case State.SLEEPING:
            await fleet.sleep(satellite.id, actor="x")
        case State.TERMINATING:
            await fleet.terminate(satellite.id, actor="x")
        case _:
            await fleet.update(satellite.id, Changes(size="big"), actor="x")


@pytest.mark.parametrize("had_effect", [False, True], ids=["call not made", "call made"])
@pytest.mark.parametrize("state", TRANSIENT_STATES)
async def test_its_node_dies(world: World, state: State, had_effect: bool) -> None:
    enter, call, end = TRANSIENT_STATES[state]
    dying, other = await world.node(), await world.node()
    satellite = await enter(world, dying)
    gate = world.cloud.hold_after(call) if had_effect else world.cloud.hold(call)
    await _begin(dying, state, satellite)
    await world.entered(call)
    await world.crash(dying)
    gate.set()
    await world.reaches(other, satellite.id, end)
    log = await world.log(other, satellite.id)
    took = next(step for step in log if step.event == "took_over")
    assert (took.node_id, took.reason) == (other.node_id, DIED)
    assert log[-1].node_id == other.node_id
    assert world.cloud.count(call) == 1  # it had an effect once, whichever node made it
    if had_effect and call in ("wake", "sleep"):
        assert world.cloud.entered[call] == 1  # and was not made again


@pytest.mark.parametrize("had_effect", [False, True], ids=["call not made", "call made"])
async def test_a_launching_node_dies(world: World, had_effect: bool) -> None:
    dying, other = await world.node(), await world.node()
    gate = world.cloud.hold_after("launch") if had_effect else world.cloud.hold("launch")
    new = NewSatellite(org_id=world.org_id, name="one", provisioner="cloud")
    satellite = await dying.launch(new, actor="x")
    await world.entered("launch")
    await world.crash(dying)
    gate.set()
    launched = await world.reaches(other, satellite.id, State.RUNNING)
    assert [*world.cloud.machines] == [launched.ref]
    assert world.cloud.count("launch") == 1


async def test_a_deadline_passes_while_its_node_lives(world: World) -> None:
    late = await world.node(replace(QUICK, shortest_wake=1.0, safety=0.1, patience=60))
    satellite = await world.asleep(late)
    gate = world.cloud.hold("wake")
    await late.wake(satellite.id, actor="x")
    await world.entered("wake")
    other = await world.node()
    await until(lambda: _took_over(world, other, satellite))
    gate.set()
    running = await world.reaches(other, satellite.id, State.RUNNING)
    assert running.epoch == satellite.epoch + 2
    log = await world.log(other, satellite.id)
    took = next(step for step in log if step.event == "took_over")
    assert took.reason == "its deadline has passed"
    assert "woke" in [step.event for step in log]
    assert world.cloud.count("wake") == 1


async def _took_over(world: World, fleet: Fleet, satellite: Satellite) -> bool:
    return "took_over" in await world.events(fleet, satellite.id)


async def test_a_living_node_in_time_is_left_alone(world: World) -> None:
    """The claim is looked at again under its node's lock: a stale look takes nothing over."""
    busy, other = await world.node(), await world.node()
    satellite = await world.asleep(busy)
    gate = world.cloud.hold("wake")
    await busy.wake(satellite.id, actor="x")
    claimed = await world.now(other)
    assert not await other._coordinator.take_over(claimed, "a mistake")
    gate.set()
    assert (await world.reaches(other, satellite.id, State.RUNNING)).epoch == claimed.epoch


async def test_its_waiters_on_another_node_are_let_in(world: World) -> None:
    """Nobody says that the node is dead: its heartbeat's end shows it."""
    dying, other = await world.node(), await world.node()
    satellite = await world.asleep(dying)
    gate = world.cloud.hold("wake")
    await dying.wake(satellite.id, actor="x")
    waiting = [
        asyncio.create_task(other.admit(satellite.id, actor="x", budget=BUDGET)) for _ in range(5)
    ]
    await world.entered("wake")
    await world.kill(dying)
    gate.set()
    admitted = await asyncio.gather(*waiting)
    assert {one.epoch for one in admitted} == {satellite.epoch + 2}
    for _ in waiting:
        other.leave(satellite.id)


async def test_a_node_that_leaves_hands_its_work_over_at_once(world: World) -> None:
    slow = replace(QUICK, claims_live=600.0, leases_live=600.0)
    leaving, other = await world.node(slow), await world.node()
    satellite = await world.asleep(leaving)
    gate = world.cloud.hold("wake")
    await leaving.wake(satellite.id, actor="x")
    await world.entered("wake")
    await leaving.aclose()
    gate.set()
    await world.reaches(other, satellite.id, State.RUNNING)
    assert world.cloud.machines[satellite.ref].state is MachineState.RUNNING


async def test_a_claim_whose_answer_was_lost_is_adopted_by_its_own_node(world: World) -> None:
    fleet = await world.node(kind=Forgetful)
    satellite = await world.asleep(fleet)
    fleet._database.lose.append("wake")  # type: ignore[attr-defined]
    admitted = await fleet.admit(satellite.id, actor="x", budget=BUDGET)
    assert admitted.epoch == satellite.epoch + 2
    log = await world.log(fleet, satellite.id)
    assert [step.reason for step in log if step.event == "took_over"] == [
        "the claim's answer was lost"
    ]
    assert world.cloud.count("wake") == 1
    fleet.leave(satellite.id)


async def test_a_node_that_was_silent_takes_over_nothing(world: World) -> None:
    """A database that was frozen, or failed over: the first to come back would take all work."""
    dying, other = await world.node(), await world.node(replace(QUICK, poll=3600.0))
    satellite = await world.asleep(dying)
    world.cloud.hold("wake")
    await dying.wake(satellite.id, actor="x")
    await world.entered("wake")
    await world.crash(dying)
    other._node._acts_until = 0.0  # it has not heard of the database for as long as claims live
    await other._node.beat()
    await other._reconciler.take_over()
    assert "took_over" not in await world.events(other, satellite.id)
    await until(other._node.judges)
    await other._reconciler.take_over()
    assert (await world.events(other, satellite.id))[-1] == "took_over"
    world.cloud.gates.clear()
    await world.reaches(other, satellite.id, State.RUNNING)


async def test_a_database_whose_clock_went_back_keeps_no_dead_node_alive(world: World) -> None:
    """By an operator, or in a failover to a standby that is behind: its last heartbeat counted for
    an hour more."""
    dying, other = await world.node(), await world.node()
    satellite, leased = await world.asleep(dying), await world.launched(dying, "leased")
    await dying.admit(leased.id, actor="x", budget=BUDGET)
    world.cloud.hold("wake")
    await dying.wake(satellite.id, actor="x")
    await world.entered("wake")
    await world.kill(dying)
    world.cloud.gates.clear()
    await world.database.execute(
        """update nodes set expires_at = expires_at + interval '1 hour',
            leases_until = leases_until + interval '1 hour'"""
    )
    await world.reaches(other, satellite.id, State.RUNNING)
    took = [step for step in await world.log(other, satellite.id) if step.event == "took_over"]
    assert [step.reason for step in took] == [DIED]
    await until(lambda: _idle(world, other, "leased"))


async def _idle(world: World, fleet: Fleet, name: str) -> bool:
    return (await world.now(fleet, name)).idle_since is not None


async def test_many_claims_of_a_dead_node_are_taken_over_by_several(world: World) -> None:
    """Each by one of them, and each machine is started once."""
    dying, *others = [await world.node() for _ in range(3)]
    satellites = [await world.asleep(dying, f"s{n}") for n in range(12)]
    gate = world.cloud.hold("wake")
    for satellite in satellites:
        await dying.wake(satellite.id, actor="x")
    await world.entered("wake", len(satellites))
    await world.crash(dying)
    gate.set()
    for satellite in satellites:
        await world.reaches(others[0], satellite.id, State.RUNNING)
        log = await world.log(others[0], satellite.id)
        assert [step.reason for step in log if step.event == "took_over"] == [DIED]
    assert world.cloud.count("wake") == len(satellites)
