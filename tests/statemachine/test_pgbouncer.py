"""Behind Debian's PgBouncer in transaction mode: everything, but for LISTEN."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import pytest
from fleetkit.stores import Store
from fleetkit.world import QUICK, World
from pgkit.servers import Server, needs_pgbouncer, needs_postgres, pgbouncer
from pgkit.wire import Wire
from waiting import until

from torpor_statemachine.fleet import Fleet
from torpor_statemachine.lifecycle.states import State
from torpor_statemachine.postgres.migrate import migrate
from torpor_statemachine.postgres.pool import Database, PoolerBetween
from torpor_statemachine.postgres.role import lacking

pytestmark = [needs_postgres, needs_pgbouncer]
BUDGET = 60.0


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with Server.made() as made:
        yield made


@pytest.fixture
async def bouncer(server: Server) -> AsyncIterator[str]:
    async with pgbouncer(server) as url:
        await migrate(url)
        yield url


async def _world(url: str, stack: AsyncExitStack) -> World:
    database = await stack.enter_async_context(Database(url, poll_only=True))
    world = World(database, url, stack)
    await database.execute("insert into orgs (id, name) values ($1, 'acme')", world.org_id)
    return world


async def test_satellites_live_behind_it(bouncer: str) -> None:
    async with AsyncExitStack() as stack:
        world = await _world(bouncer, stack)
        nodes = [await world.node(poll_only=True) for _ in range(3)]
        satellite = await world.asleep(nodes[0])
        asking = [node.admit(satellite.id, actor="x", budget=BUDGET) for node in nodes]
        await asyncio.gather(*asking)
        assert world.cloud.count("wake") == 1
        for node in nodes:
            node.leave(satellite.id)
        await world.database.execute("update satellites set sleep_after = '0.1s'")
        await world.reaches(nodes[1], satellite.id, State.ASLEEP)


async def test_any_number_may_migrate_and_come_and_go(bouncer: str) -> None:
    """asyncpg numbers its statements from 1 in each process, and PgBouncer keeps the session."""
    assert await asyncio.gather(*(migrate(bouncer) for _ in range(5))) == [[]] * 5
    for _ in range(4):
        async with Database(bouncer, poll_only=True) as database:
            assert await database.fetchval("select $1::int", 1) == 1


async def test_without_poll_only_it_is_refused_in_one_line(bouncer: str) -> None:
    with pytest.raises(PoolerBetween, match=r"TPR-5208 .*startup parameter.* --poll-only"):
        await Database(bouncer).open()


async def test_one_that_takes_every_startup_parameter_is_seen_too(server: Server) -> None:
    taken = "default_transaction_isolation, lock_timeout, statement_timeout,"
    taken += " idle_in_transaction_session_timeout, tcp_user_timeout, tcp_keepalives_idle,"
    taken += " tcp_keepalives_interval, tcp_keepalives_count"
    async with pgbouncer(server, ignore_startup_parameters=taken) as url:
        with pytest.raises(PoolerBetween, match=r"TPR-5208 .* --poll-only"):
            await Database(url).open()


async def test_the_roles_settings_bound_a_session_that_vanished(
    server: Server, bouncer: str
) -> None:
    """An open transaction of a client that went silent, with PgBouncer in between."""
    async with Database(bouncer, poll_only=True) as database:
        wanted = await lacking(database)
        assert len(wanted) >= 5
        for statement in wanted:
            await server.execute(statement)
    await _reconnected(server)
    with tempfile.TemporaryDirectory(prefix="torpor-") as folder:
        async with Wire.laid(bouncer, Path(folder)) as wire, AsyncExitStack() as stack:
            world = await _world(bouncer, stack)
            fleet = await world.node(poll_only=True)
            satellite = await world.asleep(fleet)
            vanishing = await asyncpg.connect(wire.url, statement_cache_size=0)
            await vanishing.execute("begin")
            await vanishing.execute("select from satellites for update")
            wire.silence()
            await fleet.admit(satellite.id, actor="x", budget=BUDGET)
            fleet.leave(satellite.id)
            vanishing.terminate()


async def _reconnected(server: Server) -> None:
    """Sessions that PgBouncer had before have what their role had then."""
    await server.execute(
        "select count(pg_terminate_backend(pid)) from pg_stat_activity"
        " where datname = 'torpor' and pid <> pg_backend_pid()"
    )


async def test_a_node_that_vanishes_behind_it_leaves_nothing_locked(bouncer: str) -> None:
    async with AsyncExitStack() as stack:
        world = await _world(bouncer, stack)
        fleet = await world.node(poll_only=True)
        satellite = await world.launched(fleet)
        for messages in range(4):
            await _vanishes_as_it_reaps(world, fleet, messages)
            await world.reaches(fleet, satellite.id, State.ASLEEP)
            await until(lambda: _nobody_waits(world.database))
            await fleet.wake(satellite.id, actor="x")
            await world.reaches(fleet, satellite.id, State.RUNNING)


async def _vanishes_as_it_reaps(world: World, fleet: Fleet, messages: int) -> None:
    with tempfile.TemporaryDirectory(prefix="torpor-") as folder:
        async with (
            Wire.laid(world.url, Path(folder)) as wire,
            Database(wire.url, poll_only=True) as vanishing,
        ):
            store = Store(vanishing, QUICK, fleet.node_id)
            await world.database.execute("update satellites set sleep_due = now()")
            wire.vanish_after(messages)
            reaping = asyncio.create_task(store.reap())
            await asyncio.wait((reaping,), timeout=0.2)
            await vanishing.aclose()
            await asyncio.gather(reaping, return_exceptions=True)


async def _nobody_waits(database: Database) -> bool:
    return await database.fetchval("select not exists (select from pg_locks where not granted)")
