"""Requests that wait: each ends exactly once, and leaves nothing behind."""

from __future__ import annotations

import asyncio

import pytest
from fleetkit.databases import Forgetful
from fleetkit.world import World
from waiting import until

from torpor_provisioner.errors import Denied
from torpor_statemachine.errors import HoldExpired, LifecycleBroke
from torpor_statemachine.fleet import Fleet
from torpor_statemachine.lifecycle.states import State, WakeKind
from torpor_statemachine.postgres.pool import DatabaseAway

BUDGET = 60.0


def _nothing_is_left(fleet: Fleet) -> bool:
    waiters = fleet._waiters
    return not (waiters._waiters or waiters._tasks or fleet._notifier._subscriptions)


async def test_a_budget_that_runs_out_names_what_it_waits_for(world: World) -> None:
    fleet = await world.node()
    satellite = await world.asleep(fleet)
    gate = world.cloud.hold("wake")
    with pytest.raises(HoldExpired, match="acme/one: it is waking for 0"):
        await fleet.admit(satellite.id, actor="x", budget=0.7)
    await until(lambda: _nothing_is_left(fleet))
    gate.set()  # the wake itself went on
    await world.reaches(fleet, satellite.id, State.RUNNING)
    assert fleet._lease_keeper.book.streams == 0


async def test_a_budget_of_nothing(world: World) -> None:
    fleet = await world.node()
    satellite = await world.asleep(fleet)
    with pytest.raises(HoldExpired):
        await fleet.admit(satellite.id, actor="x", budget=0.0)
    await until(lambda: _nothing_is_left(fleet))


async def test_a_waiter_that_gives_up_ends_no_other(world: World) -> None:
    fleet = await world.node()
    satellite = await world.asleep(fleet)
    gate = world.cloud.hold("wake")
    leaving, staying = (
        asyncio.create_task(fleet.admit(satellite.id, actor="x", budget=BUDGET)) for _ in range(2)
    )
    await world.entered("wake")
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    late = asyncio.create_task(fleet.admit(satellite.id, actor="x", budget=BUDGET))
    gate.set()
    admitted = await asyncio.gather(staying, late)
    assert {one.wake_kind for one in admitted} == {WakeKind.RESUMED}
    assert fleet._lease_keeper.book.streams == 2
    for _ in admitted:
        fleet.leave(satellite.id)
    await until(lambda: _nothing_is_left(fleet))


async def test_cancelled_at_any_step(world: World) -> None:
    """However far it has come, what was counted in is counted out."""
    fleet = await world.node()
    satellite = await world.launched(fleet)
    came_in = steps = 0
    while came_in < 3:
        steps += 1
        request = asyncio.create_task(fleet.admit(satellite.id, actor="x", budget=BUDGET))
        await asyncio.sleep(0.0001 * steps)
        request.cancel()
        (outcome,) = await asyncio.gather(request, return_exceptions=True)
        if not isinstance(outcome, asyncio.CancelledError):
            came_in += 1
            fleet.leave(satellite.id)
        assert fleet._lease_keeper.book.streams == 0
    await until(lambda: _nothing_is_left(fleet))


async def test_one_waiter_asks_for_all(world: World) -> None:
    """The queries grow with the nodes that wait, not with the requests."""
    asked = []
    for requests in (1, 400):
        fleet = await world.node(kind=Forgetful)
        satellite = await world.asleep(fleet, f"of-{requests}")
        gate = world.cloud.hold("wake")
        before = fleet._database.queries
        waiting = [
            asyncio.create_task(fleet.admit(satellite.id, actor="x", budget=BUDGET))
            for _ in range(requests)
        ]
        await until(lambda: satellite.id in fleet._coordinator._work)  # noqa: B023
        gate.set()
        await asyncio.gather(*waiting)
        asked.append(fleet._database.queries - before)
        for _ in waiting:
            fleet.leave(satellite.id)
        await fleet.aclose()
    assert asked[1] <= asked[0] + 30, asked  # a slower run polls and beats more often


async def test_a_node_that_closes_refuses_those_who_wait(world: World) -> None:
    fleet = await world.node()
    satellite = await world.asleep(fleet)
    world.cloud.hold("wake")
    waiting = [
        asyncio.create_task(fleet.admit(satellite.id, actor="x", budget=BUDGET)) for _ in range(3)
    ]
    await world.entered("wake")
    await fleet.aclose()
    told = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(one) for one in told] == [HoldExpired] * 3
    with pytest.raises((HoldExpired, DatabaseAway)):
        await fleet.admit(satellite.id, actor="x", budget=0.5)


async def test_a_fault_of_ours_is_told_and_forgotten(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = await world.node()
    satellite = await world.launched(fleet)

    async def broken(*_: object) -> None:
        raise RuntimeError("a fault")

    with monkeypatch.context() as patched:
        patched.setattr(fleet._waiters, "_take", broken)
        with pytest.raises(LifecycleBroke):
            await fleet.admit(satellite.id, actor="x", budget=BUDGET)
    await until(lambda: _nothing_is_left(fleet))
    await fleet.admit(satellite.id, actor="x", budget=BUDGET)
    fleet.leave(satellite.id)


async def test_a_failure_of_before_is_not_told_to_who_comes_after(world: World) -> None:
    fleet = await world.node()
    satellite = await world.asleep(fleet)
    world.cloud.fail("wake", Denied("of before"))
    with pytest.raises(Denied):
        await fleet.admit(satellite.id, actor="x", budget=BUDGET)
    await fleet.admit(satellite.id, actor="x", budget=BUDGET)
    fleet.leave(satellite.id)
