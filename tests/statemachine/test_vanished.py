"""A node's host that vanishes without a word, after any message to Postgres: what it leaves there.

The node speaks through a wire that goes silent, and Postgres is not told: by its own rules it
would keep that session, and what it has locked, for two hours.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from fleetkit.stores import Store
from fleetkit.world import QUICK, World
from pgkit.wire import Wire
from waiting import until

from torpor_statemachine.lifecycle.machine import Event
from torpor_statemachine.lifecycle.satellite import Satellite
from torpor_statemachine.lifecycle.states import State
from torpor_statemachine.postgres import pool, session
from torpor_statemachine.postgres.pool import (
    CONNECTIONS,
    Database,
    DatabaseBusy,
    NoConnectionFree,
)
from torpor_statemachine.store.queries import Queries

BUDGET = 60.0
MOST = 5  # messages to Postgres; none of these needs as many
STILL = replace(QUICK, claims_live=600.0, leases_live=600.0)
Did = Callable[[Store, Satellite], Awaitable[Any]]


async def _sleeps(store: Store, seen: Satellite) -> Any:
    return await store.transitions.sleep(seen, store.transitions.by("x", "y"))


async def _takes_over(store: Store, seen: Satellite) -> Any:
    return await store.transitions.take_over(seen, store.transitions.by("x", "y"), 60.0)


WHAT: dict[str, Did] = {
    "reaps": lambda store, _: store.reap(),
    "sleeps": _sleeps,
    "wakes": lambda store, seen: store.change(Event.WAKE, seen),
    "takes over": _takes_over,
    "takes a lease": lambda store, seen: store.leases.take(seen.id, 1),
    "gives leases up": lambda store, seen: store.leases.drop([seen.id], 0.0),
    "sweeps": lambda store, _: store.leases.sweep(0.0, 0.0),
    "begins a term": lambda store, _: store.nodes.register(),
    "renews": lambda store, _: store.nodes.renew(1),
    "leaves": lambda store, _: store.nodes.leave(),
}


@pytest.mark.parametrize("messages", range(MOST))
@pytest.mark.parametrize("what", WHAT)
async def test_nothing_stays_locked(world: World, wire: Wire, what: str, messages: int) -> None:
    dead = uuid4()
    await _register(world.database, dead, "-1 hour")
    seen = await _idle(world, claimed_by=dead if what == "takes over" else None)
    async with Database(wire.url) as database:
        store = Store(database, STILL, uuid4())
        await store.nodes.register()  # and both ways to Postgres are open now
        wire.vanish_after(messages)
        acting = asyncio.create_task(WHAT[what](store, seen))  # type: ignore[arg-type, var-annotated]
        await asyncio.wait((acting,), timeout=0.2)
        await _others_go_on(world.database)
        await database.aclose()
        await asyncio.gather(acting, return_exceptions=True)


async def test_a_transaction_that_was_left_open_ends(world: World, wire: Wire) -> None:
    """There is none in the product; an older version has them."""
    await _idle(world)
    async with Database(wire.url) as database:
        vanishing = await database.connect()
        await vanishing.execute("begin")
        await vanishing.execute("select from satellites for update")
        wire.silence()
        await _others_go_on(world.database)
        vanishing.terminate()


async def _others_go_on(database: Database) -> None:
    """Another session may have every row there is."""
    async with asyncio.timeout(BUDGET):
        for table in ("satellites", "nodes", "leases"):
            while True:
                try:
                    await database.execute(f"select from {table} for update")
                except DatabaseBusy:
                    continue
                else:
                    break


async def _register(database: Database, node_id: UUID, lives: str) -> None:
    await database.execute(
        "insert into nodes (id, expires_at, leases_until)"
        f" values ($1, now() + interval '{lives}', now() + interval '1 hour')",
        node_id,
    )


async def _idle(
    world: World, name: str = "one", *, due: str = "now", claimed_by: UUID | None = None
) -> Satellite:
    """A satellite without a machine that is due for sleep, or claimed by another node for it."""
    satellite_id = uuid4()
    await world.database.execute(
        """insert into satellites (id, org_id, name, provisioner, arch, state, epoch, ref, host,
            port, idle_since, sleep_due, claimed_by, claim_deadline)
        values ($1, $2, $3, 'cloud', 'x86_64', $4, 1, null, 'cloud', 1, now(),
            $6::text::timestamptz, $5,
            case when $5::uuid is null then null else now() + interval '1 hour' end)""",
        satellite_id,
        world.org_id,
        name,
        State.RUNNING if claimed_by is None else State.SLEEPING,
        claimed_by,
        due,
    )
    found = await Queries(world.database).by_id(satellite_id)
    assert found is not None
    return found


# --- A lock that somebody else keeps


async def test_locked_satellites_keep_nobody_else_waiting(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """More of them than the node has connections, each with a request that waits."""
    fleet = await world.node(replace(QUICK, reconcile=3600.0))
    unrelated = await world.asleep(fleet, "unrelated")
    locked = [
        await _idle(world, f"locked-{number}", due="infinity") for number in range(3 * CONNECTIONS)
    ]
    blocker = await asyncpg.connect(world.url)
    await blocker.execute("begin")
    await blocker.execute("select from satellites where name like 'locked-%' for update")
    waiting = [
        asyncio.create_task(fleet.admit(each.id, actor="x", budget=BUDGET)) for each in locked
    ]
    await until(lambda: fleet._database.waits["lock"] > 2 * CONNECTIONS)
    await fleet.admit(unrelated.id, actor="x", budget=BUDGET)
    for _ in range(5):
        await fleet._node.next_beat()
        assert fleet._node.leases_hold()
    assert fleet._node.term == 1
    told = [record for record in caplog.records if "TPR-5206" in record.message]
    assert told
    assert 'relation "satellites"' in told[0].message
    assert len(told) < 3 + fleet._database.waits["lock"] / 4  # and not one for each
    await blocker.execute("rollback")
    await asyncio.gather(*waiting)
    for each in (unrelated, *locked):
        fleet.leave(each.id)
    await blocker.close()


async def test_a_lock_that_stays_is_told_by_its_own_code(world: World) -> None:
    fleet = await world.node()
    satellite = await _idle(world, due="infinity")
    blocker = await asyncpg.connect(world.url)
    await blocker.execute("begin")
    await blocker.execute("select from satellites for update")
    with pytest.raises(DatabaseBusy, match="TPR-5206"):
        await fleet.admit(satellite.id, actor="x", budget=2 * session.LOCK + 1.0)
    await blocker.close()


async def test_a_crowd_of_slow_statements_is_told_and_ends(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pool, "TURN", 0.05)
    slow = [asyncio.create_task(database.execute("select pg_sleep(5)")) for _ in range(CONNECTIONS)]
    await asyncio.sleep(0)
    for _ in range(3):
        with pytest.raises(NoConnectionFree, match="TPR-5207"):
            await database.fetchval("select 1")
    assert database.waits["connection"] == 3
    assert caplog.text.count("TPR-5207") == 1
    assert await database.vital.fetchval("select 1") == 1
    for task in slow:
        task.cancel()
    await asyncio.gather(*slow, return_exceptions=True)
    monkeypatch.undo()
    assert await database.fetchval("select 1") == 1


# --- Statements that Postgres gives up for another's sake


async def test_the_isolation_is_ours_whatever_the_sites_default(world: World) -> None:
    await world.database.execute(
        f"alter database {world.url.rpartition('/')[2].partition('?')[0]}"
        " set default_transaction_isolation = 'serializable'"
    )
    async with Database(world.url) as database:
        for each in (database, database.vital):
            assert await each.fetchval("show transaction_isolation") == "read committed"


_BOTH = """
create function torpor_test_both(first uuid, second uuid) returns bool language plpgsql as $$
begin
    update satellites set failures = failures + 1 where id = first;
    perform pg_advisory_xact_lock(7);
    update satellites set failures = failures + 1 where id = second;
    return true;
end $$
"""


async def test_a_deadlock_is_tried_again(world: World) -> None:
    """Mine has one row, theirs another, and each asks for the other's: mine is given up."""
    database = world.database
    await database.execute(_BOTH)
    await database.execute("set deadlock_timeout = '1ms'")  # for the only connection there is
    one, two = (await _idle(world, "a")).id, (await _idle(world, "b")).id
    other, gate = await asyncpg.connect(world.url), await asyncpg.connect(world.url)
    await gate.execute("select pg_advisory_lock(7)")
    await other.execute("set deadlock_timeout = '1h'; begin")
    touch = "update satellites set failures = failures + 1 where id = $1"
    await other.execute(touch, two)
    mine = asyncio.create_task(database.fetchval("select torpor_test_both($1, $2)", one, two))
    await until(lambda: _waiting(gate, 1))
    theirs = asyncio.create_task(other.execute(touch, one))
    await until(lambda: _waiting(gate, 2))
    await gate.execute("select pg_advisory_unlock(7)")
    await theirs
    await other.execute("commit")
    assert await mine
    assert database.waits["lock"] == 0
    counts = await database.fetch("select failures from satellites")
    assert [count["failures"] for count in counts] == [2, 2]
    for connection in (other, gate):
        await connection.close()


async def _waiting(by: asyncpg.Connection[Any], sessions: int) -> bool:
    count = "select count(*) >= $1 from pg_locks where not granted"
    return await by.fetchval(count, sessions)
