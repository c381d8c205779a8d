"""Postgres is away: what goes on, what waits, and how everything comes back."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import Any

import pytest
from fleetkit.world import QUICK, World
from pgkit.wire import Wire
from waiting import until

from torpor_statemachine.errors import HoldExpired
from torpor_statemachine.events import Unobserved
from torpor_statemachine.lifecycle.states import State
from torpor_statemachine.postgres.pool import DatabaseAway

BUDGET = 60.0


class Told(Unobserved):
    def __init__(self) -> None:
        self.answers: list[bool] = []

    def database(self, *, answers: bool) -> None:
        self.answers.append(answers)


async def test_streams_go_on_and_wakes_wait_their_budget(world: World, wire: Wire) -> None:
    told = Told()
    fleet = await world.node(url=wire.url, observer=told)
    awake = await world.launched(fleet, "awake")
    asleep = await world.asleep(fleet, "asleep")
    await fleet.admit(awake.id, actor="x", budget=BUDGET)
    await wire.cut()
    await until(lambda: told.answers == [False])
    assert fleet.enter(awake.id) is not None  # a trusted lease needs nobody
    with pytest.raises(DatabaseAway, match="TPR-5205"):
        await fleet.admit(asleep.id, actor="x", budget=0.5)
    waiting = asyncio.create_task(fleet.admit(asleep.id, actor="x", budget=BUDGET))
    await asyncio.sleep(0)
    await wire.mend()
    await waiting
    await until(lambda: told.answers == [False, True])
    for satellite in (awake, awake, asleep):
        fleet.leave(satellite.id)


async def test_a_lease_is_trusted_no_longer_than_it_lives(world: World, wire: Wire) -> None:
    brief = replace(QUICK, claims_live=1.0, leases_live=1.2, safety=0.2)
    fleet = await world.node(brief, url=wire.url)
    satellite = await world.launched(fleet)
    await fleet.admit(satellite.id, actor="x", budget=BUDGET)
    await wire.cut()
    await until(lambda: not fleet._node.leases_hold())
    assert fleet.enter(satellite.id) is None
    await wire.mend()
    await until(lambda: fleet._node.leases_hold() and fleet._lease_keeper.book.held())
    assert fleet.enter(satellite.id) is not None
    fleet.leave(satellite.id)
    fleet.leave(satellite.id)


async def test_work_is_finished_when_it_is_back(world: World, wire: Wire) -> None:
    fleet = await world.node(url=wire.url)
    satellite = await world.asleep(fleet)
    gate = world.cloud.hold_after("wake")
    request = asyncio.create_task(fleet.admit(satellite.id, actor="x", budget=BUDGET))
    await world.entered("wake")
    await wire.cut()
    gate.set()
    await asyncio.sleep(2 * QUICK.poll)
    await wire.mend()
    await request
    fleet.leave(satellite.id)
    assert world.cloud.count("wake") == 1


async def test_nodes_that_come_back_late_find_their_claim_taken(world: World, wire: Wire) -> None:
    brief = replace(QUICK, claims_live=1.0, safety=0.2)
    cut_off, other = await world.node(brief, url=wire.url), await world.node()
    satellite = await world.asleep(other)
    gate = world.cloud.hold_after("wake")
    await cut_off.wake(satellite.id, actor="x")
    await world.entered("wake")
    await wire.cut()
    running = await world.reaches(other, satellite.id, State.RUNNING)
    gate.set()
    await wire.mend()
    await until(lambda: not cut_off._coordinator._work)
    assert (await world.now(other)).epoch == running.epoch
    assert world.cloud.count("wake") == 1


async def test_closing_without_a_database(world: World, wire: Wire) -> None:
    fleet = await world.node(url=wire.url)
    satellite = await world.asleep(fleet)
    world.cloud.hold("wake")
    waiting = asyncio.create_task(fleet.admit(satellite.id, actor="x", budget=BUDGET))
    await world.entered("wake")
    await wire.cut()
    async with asyncio.timeout(BUDGET):
        await fleet.aclose()
    with pytest.raises((HoldExpired, DatabaseAway)):
        await waiting


async def test_giving_up_a_lease_without_a_database_is_made_up_for(
    world: World, wire: Wire
) -> None:
    fleet = await world.node(url=wire.url)
    satellite = await world.launched(fleet)
    await fleet.admit(satellite.id, actor="x", budget=BUDGET)
    await wire.cut()
    fleet.leave(satellite.id)
    await until(
        lambda: not fleet._lease_keeper.book.held() and fleet._lease_keeper._dropping is None
    )
    await wire.mend()
    await until(lambda: _unleased(world))


async def _unleased(world: World) -> bool:
    return await world.database.fetchval("select not exists (select from leases)")


# --- The listener's own connection


async def _listens(world: World) -> Any:
    return await world.database.fetchval(
        "select pid from pg_stat_activity where datname = current_database()"
        " and query like '%pg_listening_channels%' and pid <> pg_backend_pid()"
    )


async def test_a_cut_listener_listens_again(world: World) -> None:
    fleet = await world.node(replace(QUICK, poll=30.0))
    other = await world.node(replace(QUICK, poll=30.0))
    satellite = await world.asleep(other)
    await until(lambda: _listens(world))
    await world.database.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where datname = current_database() and query like '%pg_listening_channels%'"
        " and pid <> pg_backend_pid()"
    )
    await until(lambda: _listens(world))
    states: list[str] = []

    async def follow() -> None:
        async for now in fleet.follow(satellite.id):
            states.append(now.state)  # noqa: PERF401 - read while it goes on

    following = asyncio.create_task(follow())
    await until(lambda: states)
    await other.wake(satellite.id, actor="x")
    await until(lambda: State.RUNNING in states)  # told, for no poll is due
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


@pytest.mark.parametrize(
    "payload", ["", "garbage", "a b c", f"{'0' * 8} running x", "x" * 7000, "1 2 3 4 5"]
)
async def test_a_notification_that_is_none_of_ours(
    world: World, payload: str, caplog: pytest.LogCaptureFixture
) -> None:
    fleet = await world.node()
    satellite = await world.asleep(fleet)
    await until(lambda: _listens(world))
    with caplog.at_level(logging.WARNING):
        await world.database.execute("select pg_notify('torpor', $1)", payload)
        await until(lambda: "none of ours" in caplog.text)
    await fleet.admit(satellite.id, actor="x", budget=BUDGET)
    fleet.leave(satellite.id)


async def test_late_news_of_how_it_came_to_run_ends_no_lease(world: World) -> None:
    fleet = await world.node()
    satellite = await world.asleep(fleet)
    admitted = await fleet.admit(satellite.id, actor="x", budget=BUDGET)
    gone: list[object] = []
    fleet.on_sleep(gone.append)
    for late in (f"sleeping {admitted.epoch - 1}", f"waking {admitted.epoch}"):
        await world.database.execute("select pg_notify('torpor', $1)", f"{satellite.id} {late}")
    with fleet._notifier.subscribe(satellite.id) as subscription:
        await world.database.execute(
            "select pg_notify('torpor', $1)", f"{satellite.id} running {admitted.epoch}"
        )
        while not subscription._changed.is_set():
            await subscription.wait(BUDGET)
    assert fleet._lease_keeper.book.epoch(satellite.id) == admitted.epoch
    assert not gone
    fleet.leave(satellite.id)


@pytest.mark.parametrize("silent", [True, False])
async def test_no_request_waits_for_the_database_beyond_its_budget(
    world: World, wire: Wire, silent: bool
) -> None:
    """Not 300 s, which is for the cloud: there is nothing to wait for."""
    fleet = await world.node(replace(QUICK, database_budget=1.5), url=wire.url)
    satellite = await world.asleep(fleet)
    if silent:
        wire.silence()
    else:
        await wire.cut()
    refused = await asyncio.gather(
        *(fleet.admit(satellite.id, actor="x", budget=3600.0) for _ in range(3)),
        return_exceptions=True,
    )
    assert [getattr(error, "code", error) for error in refused] == ["TPR-5205"] * 3
    await wire.mend()
    await fleet.admit(satellite.id, actor="x", budget=BUDGET)
    fleet.leave(satellite.id)


async def test_a_silent_database_holds_nobody_beyond_the_budget(world: World, wire: Wire) -> None:
    """Packets are dropped: nobody is told that the server is away."""
    fleet = await world.node(url=wire.url)
    satellite = await world.asleep(fleet)
    wire.silence()
    with pytest.raises(HoldExpired):
        await fleet.admit(satellite.id, actor="x", budget=0.5)
    await wire.mend()
    await fleet.admit(satellite.id, actor="x", budget=BUDGET)
    fleet.leave(satellite.id)
