"""The work of one node: what ends it, what replaces it, and what is made of lost answers."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import Any

import pytest
from fleetkit.databases import Forgetful, transaction
from fleetkit.world import QUICK, World
from pgkit.wire import Wire
from waiting import until

from torpor_statemachine import clock
from torpor_statemachine.errors import ProvisionerBroke
from torpor_statemachine.fleet import Fleet
from torpor_statemachine.lifecycle.machine import Event
from torpor_statemachine.lifecycle.satellite import Satellite
from torpor_statemachine.lifecycle.states import State
from torpor_statemachine.postgres.pool import DatabaseAway
from torpor_statemachine.store.changes import Changed, change
from torpor_statemachine.store.nodes import NodeStatus
from torpor_statemachine.work.claimed_work import Work

BUDGET = 60.0
STILL = replace(QUICK, heartbeat=2.0, claims_live=600.0, leases_live=600.0)


async def _waking(world: World, fleet: Fleet) -> tuple[Satellite, Work, asyncio.Task[None]]:
    satellite = await world.asleep(fleet)
    world.cloud.hold("wake")
    await fleet.wake(satellite.id, actor="x")
    await world.entered("wake")
    work, task = fleet._coordinator._work[satellite.id]
    return work.satellite, work, task


async def test_work_whose_claim_was_lost_is_cancelled(world: World) -> None:
    fleet = await world.node(STILL)
    _satellite, _work, task = await _waking(world, fleet)
    now = clock.now()
    assert fleet._coordinator.confirm(NodeStatus(frozenset(), {}), now, now) == []
    await asyncio.wait((task,))
    assert task.cancelled()
    await until(lambda: not fleet._coordinator._work)


async def test_work_that_is_younger_than_the_question_goes_on(world: World) -> None:
    fleet = await world.node(STILL)
    _satellite, _work, task = await _waking(world, fleet)
    fleet._coordinator.confirm(NodeStatus(frozenset(), {}), 0.0, 0.0)
    await asyncio.sleep(0)
    assert not task.cancelling()


async def test_work_that_is_writing_its_last_step_goes_on(world: World) -> None:
    """The write may have taken effect: that the claim is gone is no news then."""
    fleet = await world.node(STILL)
    _satellite, work, task = await _waking(world, fleet)
    work.completing = True
    now = clock.now()
    fleet._coordinator.confirm(NodeStatus(frozenset(), {}), now, now)
    fleet._coordinator.renamed()
    await asyncio.sleep(0)
    assert not task.cancelling()
    work.completing = False


async def test_what_is_told_of_is_confirmed(world: World) -> None:
    fleet = await world.node(STILL)
    satellite, work, _task = await _waking(world, fleet)
    status = NodeStatus(frozenset(), {satellite.id: satellite.epoch})
    now = clock.now()
    fleet._coordinator.confirm(status, now, now + 1)
    assert work.confirmed_at == now + 1


async def test_an_unknown_claim_is_adopted_only_when_told_of_twice(world: World) -> None:
    fleet = await world.node(STILL)
    satellite = await world.asleep(fleet)
    status = NodeStatus(frozenset(), {satellite.id: 7})
    coordinator = fleet._coordinator
    await until(lambda: not coordinator._work)
    fleet._loops[0].cancel()  # the heartbeats are a test's to make
    assert coordinator.confirm(status, 0.0, 0.0) == []
    assert coordinator.confirm(status, 0.0, 0.0) == [satellite.id]
    with fleet._transitions.asking(satellite.id):  # the answer may yet come
        assert coordinator.confirm(status, 0.0, 0.0) == []
    assert coordinator.confirm(status, 0.0, 0.0) == []
    other = NodeStatus(frozenset(), {satellite.id: 8})  # another claim each time
    assert coordinator.confirm(other, 0.0, 0.0) == []


async def test_a_late_answer_does_not_replace_newer_work(world: World) -> None:
    fleet = await world.node(STILL)
    satellite, work, task = await _waking(world, fleet)
    old = replace(satellite, epoch=satellite.epoch - 1)
    transition = (await world.log(fleet, satellite.id))[-1]
    fleet._coordinator.carry_out(Changed(old, transition, work.claimed_at - 1.0), work.by)
    assert fleet._coordinator._work[satellite.id] == (work, task)
    await asyncio.sleep(0)
    assert not task.cancelling()


async def test_newer_work_replaces_older(world: World) -> None:
    fleet = await world.node(STILL)
    satellite, _work, task = await _waking(world, fleet)
    await world.database.execute("update satellites set claim_deadline = now()")
    late = await world.now(fleet)
    await fleet._coordinator.take_over(late, "its deadline has passed")
    await asyncio.wait((task,))  # called off, unless its own time was up first
    world.cloud.gates.clear()
    running = await world.reaches(fleet, satellite.id, State.RUNNING)
    assert running.epoch == satellite.epoch + 1


async def test_a_cloud_that_never_answers_is_not_waited_for(world: World) -> None:
    """The call hangs, its node lives: at the deadline the node itself goes on."""
    fleet = await world.node(replace(QUICK, shortest_wake=1.0, longest_wake=1.0, safety=0.2))
    satellite = await world.asleep(fleet)
    world.cloud.hold("wake")
    request = asyncio.create_task(fleet.admit(satellite.id, actor="x", budget=BUDGET))
    await world.entered("wake")
    await until(lambda: _took_over(world, fleet, satellite))
    world.cloud.gates.clear()
    await request
    fleet.leave(satellite.id)
    assert world.cloud.count("wake") == 1


async def _took_over(world: World, fleet: Fleet, satellite: Satellite) -> bool:
    return "took_over" in await world.events(fleet, satellite.id)


async def test_no_call_begins_when_time_is_up(world: World) -> None:
    fleet = await world.node(replace(STILL, shortest_wake=5.0, longest_wake=5.0))
    _satellite, work, _task = await _waking(world, fleet)
    assert 3.0 < work.left() <= 5.0 - STILL.safety
    work._deadline = clock.now()
    with pytest.raises(ProvisionerBroke, match="wake: its time is up"):
        await work.call("wake", lambda cloud: cloud.wake("m"))
    assert world.cloud.entered["wake"] == 1


async def test_a_call_that_has_not_reached_the_cloud_is_called_off(
    world: World, wire: Wire
) -> None:
    """It waited its turn while the node ceased to be sure of its claim."""
    brief = replace(QUICK, claims_live=1.0, safety=0.2)
    fleet = await world.node(brief, url=wire.url)
    _satellite, _work, task = await _waking(world, fleet)
    await wire.cut()
    await until(lambda: world.cloud.called_off["wake"] == 1)
    world.cloud.gates.clear()
    assert not task.done()
    assert world.cloud.count("wake") == 0
    await wire.mend()
    await until(lambda: world.cloud.count("wake") == 1)


async def test_a_call_is_not_cut_short_while_heartbeats_come(world: World) -> None:
    fleet = await world.node(replace(QUICK, heartbeat=0.1, claims_live=1.0, safety=0.3))
    satellite, _work, _task = await _waking(world, fleet)
    sure_until = fleet._node._acts_until
    await until(lambda: clock.now() > sure_until)
    world.cloud.gates.clear()
    await world.reaches(fleet, satellite.id, State.RUNNING)
    assert world.cloud.entered["wake"] == 1


async def test_the_deadline_counts_from_the_question(world: World) -> None:
    """However long the answer to the claim took to come."""

    class Slow(Forgetful):
        async def fetchrow(self, sql: str, *values: Any) -> Any:
            row = await super().fetchrow(sql, *values)
            if Event.WAKE.value in values:
                await asyncio.sleep(0.5)
            return row

    fleet = await world.node(replace(STILL, shortest_wake=5.0, longest_wake=5.0), kind=Slow)
    _satellite, work, _task = await _waking(world, fleet)
    assert work.left() <= 4.5 - STILL.safety


async def test_work_that_breaks_is_taken_up_again(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = await world.node()
    satellite = await world.asleep(fleet)
    probes = 0

    async def broken(_address: object, timeout: float) -> bool:
        nonlocal probes
        probes += 1
        if probes == 1:
            raise RuntimeError("a fault of ours")
        return True

    tools = replace(fleet._coordinator._context, probe=broken)  # type: ignore[arg-type]
    monkeypatch.setattr(fleet._coordinator, "_context", tools)
    with caplog.at_level(logging.ERROR):
        await fleet.admit(satellite.id, actor="x", budget=BUDGET)
    fleet.leave(satellite.id)
    assert "a fault of ours" in caplog.text
    assert "took_over" in await world.events(fleet, satellite.id)
    assert world.cloud.count("wake") == 1


async def test_a_caller_that_hangs_up_leaves_no_claim_behind(world: World) -> None:
    """It was cancelled after its claim took effect and before it heard of it."""
    fleet = await world.node(kind=Forgetful)
    satellite = await world.asleep(fleet)
    fleet._database.lose.append("wake")  # type: ignore[attr-defined]
    with pytest.raises(DatabaseAway):
        await fleet.wake(satellite.id, actor="x")
    assert (await world.now(fleet)).state is State.WAKING
    await world.reaches(fleet, satellite.id, State.RUNNING)


async def test_a_wake_that_cannot_be_claimed_is_left_to_the_reconciler(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    nodes = [await world.node(kind=Forgetful), await world.node(replace(QUICK, poll=3600.0))]
    satellite = await world.launched(nodes[0])
    gate = world.cloud.hold("sleep")
    await nodes[0].sleep(satellite.id, actor="x")
    await world.entered("sleep")
    await nodes[0].wake(satellite.id, actor="x")
    nodes[0]._database.refuse("wake")  # type: ignore[attr-defined]
    with caplog.at_level(logging.WARNING):
        gate.set()
        await until(lambda: "left for the reconciler" in caplog.text)
    nodes[0]._database.refused.clear()  # type: ignore[attr-defined]
    await world.reaches(nodes[0], satellite.id, State.RUNNING)


async def test_a_cancelled_statement_leaves_the_pool_whole(world: World) -> None:
    fleet = await world.node(STILL, connections=1)
    satellite = await world.launched(fleet)
    async with transaction(world.database) as other:
        await other.execute("select from satellites for update")
        taking = asyncio.create_task(fleet.admit(satellite.id, actor="x", budget=BUDGET))
        sleeping = asyncio.create_task(fleet._transitions.sleep(satellite, _by(fleet)))
        await asyncio.wait((taking, sleeping), timeout=0.1)
        for task in (taking, sleeping):
            task.cancel()
        await asyncio.gather(taking, sleeping, return_exceptions=True)
    await fleet.admit(satellite.id, actor="x", budget=BUDGET)
    fleet.leave(satellite.id)


def _by(fleet: Fleet) -> Any:
    return fleet._transitions.by("a", "b")


async def test_a_node_that_is_dead_claims_nothing(world: World) -> None:
    """Nobody would notice that it was left undone."""
    fleet = await world.node(STILL)
    satellite = await world.asleep(fleet)
    await world.database.execute("update nodes set expires_at = now()")
    by = _by(fleet)
    assert await fleet._transitions.wake(satellite, by) is None
    assert (
        await change(world.database, satellite, Event.TERMINATE, by, budget=None, force=True)
        is None
    )
