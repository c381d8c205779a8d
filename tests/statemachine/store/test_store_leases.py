"""A lease against a sleep, statement by statement, on connections of their own.

`Leases.take` and `Transitions.sleep` run as they are; only where in the other's transaction they
come is chosen here. A statement that waits for a row's lock is seen to wait in pg_locks.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from fleetkit.world import QUICK, World, believe_server
from waiting import until

from torpor_statemachine.errors import SatelliteBusy
from torpor_statemachine.fleet import Fleet
from torpor_statemachine.lifecycle.machine import Event
from torpor_statemachine.lifecycle.satellite import Satellite
from torpor_statemachine.lifecycle.states import State
from torpor_statemachine.postgres import session
from torpor_statemachine.postgres.pool import DatabaseAway
from torpor_statemachine.store import changes
from torpor_statemachine.store import leases as sql
from torpor_statemachine.store.changes import Attribution, Changed, change
from torpor_statemachine.store.leases import Leases, Taken
from torpor_statemachine.store.nodes import Nodes
from torpor_statemachine.store.transitions import Transitions

BUDGET = timedelta(seconds=60)
_LOCKED = "select from satellites where id = $1 for update"
STILL = replace(QUICK, claims_live=600.0, leases_live=600.0)


@dataclass
class Stage:
    world: World
    satellite: Satellite
    fleet: Fleet

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.Connection[Any]]:
        connection = await asyncpg.connect(self.world.url)
        try:
            yield connection
        finally:
            await connection.close()

    async def somebody_waits(self) -> None:
        await until(self._waits)

    async def _waits(self) -> bool:
        return await self.world.database.fetchval(
            "select exists (select from pg_locks where not granted)"
        )

    def take(self) -> asyncio.Task[Taken | None]:
        leases = Leases(self.world.database, self.fleet.node_id)
        return asyncio.create_task(leases.take(self.satellite.id, self.fleet._node.term))

    def sleep(self) -> asyncio.Task[Changed | None]:
        transitions = Transitions(self.world.database, QUICK, self.fleet.node_id)
        by = transitions.by("reaper", "idle")
        return asyncio.create_task(transitions.sleep(self.satellite, by))

    async def leased(self) -> bool:
        return await self.world.database.fetchval("select exists (select from leases)")

    async def state(self) -> str:
        return await self.world.database.fetchval("select state from satellites")


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for a lock here waits for as long as the test takes."""
    for name in ("LOCK", "STATEMENT", "IDLE"):
        monkeypatch.setattr(session, name, 60.0)


@pytest.fixture
async def stage(world: World) -> Stage:
    fleet = await world.node(STILL)
    await world.launched(fleet)
    # Nobody else moves: the row stands still but for what a test does
    fleet._loops[0].cancel()  # a heartbeat would give up what only the database knows of
    fleet._loops[1].cancel()
    fleet._loops[2].cancel()
    return Stage(world, await world.now(fleet), fleet)


async def test_a_lease_comes_first(stage: Stage) -> None:
    taken = await stage.take()
    assert taken is not None
    assert taken.leased
    assert await stage.sleep() is None
    assert await stage.state() == State.RUNNING


async def test_a_sleep_comes_first(stage: Stage) -> None:
    assert await stage.sleep() is not None
    taken = await stage.take()
    assert taken is not None
    assert not taken.leased
    assert taken.satellite.state is State.SLEEPING
    assert not await stage.leased()


async def _claim_sleep(stage: Stage, on: asyncpg.Connection[Any]) -> Changed | None:
    by = stage.fleet._transitions.by("reaper", "idle")
    return await change(on, stage.satellite, Event.SLEEP, by, budget=BUDGET, force=False)


async def test_a_lease_comes_while_a_sleep_is_being_claimed(stage: Stage) -> None:
    """The sleeper has looked for leases and found none: the lease waits for it, and fails."""
    async with stage.connection() as sleeper:
        async with sleeper.transaction():
            assert await _claim_sleep(stage, sleeper) is not None
            taking = stage.take()
            await stage.somebody_waits()
        taken = await taking
    assert taken is not None
    assert not taken.leased
    assert not await stage.leased()
    assert await stage.state() == State.SLEEPING


async def test_a_sleep_comes_while_a_lease_is_being_taken(stage: Stage) -> None:
    """The sleeper waits for the row, and looks for leases only when it has it."""
    async with stage.connection() as taker:
        async with taker.transaction():
            row = await taker.fetchrow(
                sql._TAKE, stage.satellite.id, stage.fleet.node_id, stage.fleet._node.term
            )
            assert row["leased"]
            sleeping = stage.sleep()
            await stage.somebody_waits()
        assert await sleeping is None
    assert await stage.leased()
    assert await stage.state() == State.RUNNING


async def test_in_the_statements_own_snapshot_both_would_win(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `leased_now` is for: who waited for the row would see no lease that came meanwhile."""
    changes._statement.cache_clear()
    old = "exists (select from leases where satellite_id = satellites.id)"
    monkeypatch.setattr(changes, "_CHANGE", changes._CHANGE.replace("{guard}", f"and not {old}"))
    sets, _ = changes._SETS[Event.SLEEP]
    monkeypatch.setitem(changes._SETS, Event.SLEEP, (sets, ""))
    try:
        async with stage.connection() as taker, taker.transaction():
            await taker.fetchrow(
                sql._TAKE, stage.satellite.id, stage.fleet.node_id, stage.fleet._node.term
            )
            async with stage.connection() as sleeper:
                sleeping = asyncio.create_task(_claim_sleep(stage, sleeper))
                await stage.somebody_waits()
                await taker.execute("commit; begin")
                assert await sleeping is not None
    finally:
        changes._statement.cache_clear()


async def test_a_lease_that_is_given_up_in_the_middle_of_a_sleep(stage: Stage) -> None:
    await stage.take()
    leases = Leases(stage.world.database, stage.fleet.node_id)
    async with stage.connection() as other, other.transaction():
        await other.fetchrow(_LOCKED, stage.satellite.id)
        dropping = asyncio.create_task(leases.drop([stage.satellite.id], 0.0))
        await stage.somebody_waits()
        assert await stage.leased()
    await dropping
    assert await stage.sleep() is not None


async def test_two_nodes_that_give_up_at_once_start_the_clock(stage: Stage) -> None:
    """Each would see the other's lease, and nobody would be the last."""
    other = await stage.world.node(STILL)
    await stage.take()
    theirs = Leases(stage.world.database, other.node_id)
    await theirs.take(stage.satellite.id, other._node.term)
    async with stage.connection() as first, first.transaction():
        await first.execute(sql._DROP, [stage.satellite.id], stage.fleet.node_id, timedelta(0))
        dropping = asyncio.create_task(theirs.drop([stage.satellite.id], 0.0))
        await stage.somebody_waits()
    await dropping
    assert await stage.world.database.fetchval("select idle_since from satellites") is not None


async def test_a_sweep_waits_for_nobody_and_sees_every_lease(stage: Stage) -> None:
    """It would start the idle clock under a lease that it cannot see yet."""
    database = stage.world.database
    await database.execute("update satellites set idle_since = null, sleep_due = null")
    leases = Leases(database, stage.fleet.node_id)
    async with stage.connection() as taker:
        async with taker.transaction():
            await taker.fetchrow(
                sql._TAKE, stage.satellite.id, stage.fleet.node_id, stage.fleet._node.term
            )
            await leases.sweep(0.0, 0.0)
        await leases.sweep(0.0, 0.0)
    assert await database.fetchval("select idle_since from satellites") is None
    await leases.drop([stage.satellite.id], 0.0)
    assert await database.fetchval("select idle_since from satellites") is not None


async def test_the_reaper_skips_a_satellite_being_leased(stage: Stage) -> None:
    """Nor does it put to sleep what a stream has visited since it looked."""
    database = stage.world.database
    await believe_server(stage.fleet)
    await database.execute("update satellites set sleep_due = now() - interval '1 hour'")
    async with stage.connection() as taker, taker.transaction():
        row = await taker.fetchrow(
            sql._TAKE, stage.satellite.id, stage.fleet.node_id, stage.fleet._node.term
        )
        assert row["leased"]
        reaping = asyncio.create_task(stage.fleet._reaper.reap())
        await asyncio.wait((reaping,), timeout=0.1)
        await taker.execute("delete from leases")
        await taker.execute("update satellites set idle_since = now(), sleep_due = now() + '1h'")
    assert await reaping == 0
    await database.execute("update satellites set sleep_due = now() - interval '1 hour'")
    assert await stage.fleet._reaper.reap() == 1


async def test_a_node_that_renews_while_its_claim_is_taken_over_hears_of_it(stage: Stage) -> None:
    """The renewal waits for the node's row and reads what it holds only then."""
    claimed = await stage.sleep()
    assert claimed is not None
    stage.fleet._loops[0].cancel()
    database, node_id = stage.world.database, stage.fleet.node_id
    await database.execute("update nodes set expires_at = now() where id = $1", node_id)
    async with stage.connection() as taker:
        async with taker.transaction():
            lives = await taker.fetchval(
                "select expires_at > now() from nodes where id = $1 for no key update", node_id
            )
            assert not lives
            renewing = asyncio.create_task(
                Nodes(database.vital, QUICK, node_id).renew(stage.fleet._node.term)
            )
            await stage.somebody_waits()
            other = Attribution(uuid4(), "reconciler", "its node has died")
            await change(
                taker, claimed.satellite, Event.TOOK_OVER, other, budget=BUDGET, claimant=node_id
            )
        status = await renewing
    assert status is not None
    assert status.claims == {}


async def test_a_lease_of_a_term_that_was_swept_meanwhile(stage: Stage) -> None:
    """It waited for the row, and its node's row is gone: told as a passing failure."""
    async with stage.connection() as locker:
        async with locker.transaction():
            await locker.fetchrow(_LOCKED, stage.satellite.id)
            taking = stage.take()
            await stage.somebody_waits()
            await stage.world.database.execute("delete from nodes")
        with pytest.raises(DatabaseAway, match="term ended"):
            await taking


async def test_one_dead_node_hides_no_other_lease(stage: Stage) -> None:
    other = await stage.world.node(STILL)
    await stage.take()
    theirs = Leases(stage.world.database, other.node_id)
    await theirs.take(stage.satellite.id, other._node.term)
    await theirs.drop([stage.satellite.id], 0.0)
    assert await stage.sleep() is None
    await stage.world.database.execute(
        "update nodes set leases_until = now() - interval '1 hour' where id = $1",
        stage.fleet.node_id,
    )
    assert await theirs.sweep(0.0, 0.0) == 1
    assert await stage.sleep() is None  # its writer is swept too: nobody would notice its end
    by = other._transitions.by("reaper", "idle")
    assert await other._transitions.sleep(stage.satellite, by) is not None


async def test_nothing_is_reaped_where_another_server_answers_than_was_believed(
    stage: Stage,
) -> None:
    """It may lack leases, and nobody has had the time to find that out."""
    database = stage.world.database
    await database.execute("update satellites set sleep_due = now() - interval '1 hour'")
    await believe_server(stage.fleet)
    believed = stage.fleet._node.settled_server()
    assert believed is not None
    idle = stage.fleet._reaper._idle
    assert await idle.claim(["cloud"], 50, believed - timedelta(seconds=1)) == []
    [(changed, _)] = await idle.claim(["cloud"], 50, believed)
    assert changed.satellite.id == stage.satellite.id


async def test_nothing_is_put_to_sleep_before_each_node_that_lives_has_beaten_here(
    stage: Stage,
) -> None:
    """One with streams may be long about finding its way to the server that answers now."""
    database, idle = stage.world.database, stage.fleet._reaper._idle
    await database.execute("update satellites set sleep_due = now() - interval '1 hour'")
    await believe_server(stage.fleet)
    believed = stage.fleet._node.settled_server()
    assert believed is not None
    await database.execute(
        """insert into nodes (id, expires_at, leases_until, server) values
            (gen_random_uuid(), now(), now() + interval '1 minute', now() - interval '1 day')"""
    )
    assert await idle.claim(["cloud"], 50, believed) == []
    with pytest.raises(SatelliteBusy):
        await stage.fleet.sleep(stage.satellite.id, actor="x")
    await database.execute("update nodes set leases_until = now() where expires_at <= now()")
    assert len(await idle.claim(["cloud"], 50, believed)) == 1
