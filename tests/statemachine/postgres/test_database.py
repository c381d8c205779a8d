"""The database's bad days: a wrong URL, a server that is away, a connection cut in mid-life."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import asyncpg
import pytest
from fleetkit.world import World
from waiting import until

from torpor_provisioner.errors import TorporError
from torpor_router.access.directory import Directory
from torpor_statemachine.postgres import pool
from torpor_statemachine.postgres.errors import coded_errors
from torpor_statemachine.postgres.pool import BadDatabaseUrl, Database, DatabaseAway, connect, shown


@pytest.mark.parametrize(
    "url",
    ["http://somewhere/else", "postgresql://host:port/x", "not a url", "postgresql://[::1/x"],
)
async def test_a_url_that_cannot_be_read(url: str) -> None:
    with pytest.raises(BadDatabaseUrl, match="TPR-5203"):
        await Database(url).open()


async def test_a_database_that_does_not_exist(postgres_url: str) -> None:
    url = urlsplit(postgres_url)._replace(path="/nothing_here").geturl()
    with pytest.raises(BadDatabaseUrl, match="nothing_here"):
        await Database(url).open()


async def test_a_server_that_is_too_old(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "OLDEST", 990_000)
    with pytest.raises(TorporError, match=r"TPR-5204 .*: it is \d+\.\d+"):
        await Database(postgres_url).open()


async def test_no_server_listens(unused_tcp_port: int) -> None:
    url = f"postgresql://a:secret@127.0.0.1:{unused_tcp_port}/x"
    for attempt in (Database(url).open, lambda: connect(url, 5.0)):
        with pytest.raises(DatabaseAway, match=r"TPR-5205 .*postgresql://127.0.0.1/x: ") as away:
            await attempt()
        assert "secret" not in str(away.value)


async def test_what_is_asked_is_the_last_that_its_session_is_told(database: Database) -> None:
    """asyncpg's reset, which would come behind it, was four of five statements."""
    told = "select 'the last of its session'"
    assert await database.fetchval(told)
    connection = await connect(database.url, 5.0)
    try:
        sessions = await connection.fetch(
            "select query from pg_stat_activity where datname = current_database()"
        )
    finally:
        await connection.close()
    assert told in {each["query"] for each in sessions}


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:secret@host/name",
        "postgresql://user@host/name?password=secret",
        "host=somewhere password=secret",  # libpq's other form
        "user:secret@host/name",
        "postgresql:user:secret@host",
    ],
)
async def test_a_password_is_never_shown(url: str) -> None:
    assert "secret" not in shown(url)
    assert "secret" not in repr(Database(url))


@pytest.mark.parametrize("url", ["host=somewhere password=secret", "user:secret@host/name"])
async def test_a_password_in_a_url_of_no_form_is_not_told(url: str) -> None:
    with pytest.raises(BadDatabaseUrl, match="TPR-5203") as bad:
        await Database(url).open()
    assert "secret" not in str(bad.value)


def test_a_url_is_shown_by_what_is_no_secret() -> None:
    assert shown("postgresql://user:secret@host/name") == "postgresql://host/name"
    assert shown("postgresql:///name?host=/run") == "postgresql:///name"


async def test_a_cut_connection_is_told_by_code_and_replaced(database: Database) -> None:
    with pytest.raises(DatabaseAway):
        await database.execute("select pg_terminate_backend(pg_backend_pid())")
    assert await database.fetchval("select 1") == 1


async def test_an_error_of_ours_is_not_called_away(database: Database) -> None:
    with pytest.raises(asyncpg.UndefinedTableError):
        await database.fetch("select * from no_such_table")


async def _sleeps(database: Database) -> bool:
    return await database.fetchval(
        "select exists (select from pg_stat_activity where datname = current_database()"
        " and query like '%pg_sleep%' and pid <> pg_backend_pid())"
    )


async def test_closed_is_away(database_url: str) -> None:
    database = Database(database_url)
    with pytest.raises(DatabaseAway):
        await database.fetchval("select 1")


async def test_a_cancelled_query_ends_though_its_connection_is_lost(database: Database) -> None:
    """Told as `DatabaseAway`, a task that was to end would try again for ever."""
    begun = asyncio.Event()

    async def work_for_ever() -> None:
        while True:
            try:
                begun.set()
                await database.execute("select pg_sleep(60)")
            except DatabaseAway:
                await asyncio.sleep(0.01)

    working = asyncio.create_task(work_for_ever())
    await begun.wait()
    await until(lambda: _sleeps(database))
    working.cancel()
    await database.aclose()
    await asyncio.wait((working,), timeout=60)
    assert working.cancelled()


# --- Connections


async def test_a_node_has_few_connections_and_fewer_at_rest(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight at most, and four at rest: statements, heartbeat, LISTEN, look-ups."""
    monkeypatch.setattr(pool, "UNUSED", 1.0)
    monkeypatch.setattr(pool, "CALM", 0.0)
    fleet = await world.node()
    directory = Directory(fleet._database)
    directory.start()
    slow = [asyncio.create_task(fleet._database.execute("select pg_sleep(0.3)")) for _ in range(20)]
    most = 0
    while not all(task.done() for task in slow):
        most = max(most, await _connections(world.database))
        await asyncio.sleep(0.01)
    assert pool.CONNECTIONS <= most <= pool.CONNECTIONS + 3
    await asyncio.gather(*slow)
    await until(lambda: _has(world.database, 4))
    await directory.aclose()
    await until(lambda: _has(world.database, 3))


async def _connections(database: Database) -> int:
    return await database.fetchval(
        "select count(*) from pg_stat_activity where datname = current_database()"
        " and application_name = 'torpor' and pid <> pg_backend_pid()"
    )


async def _has(database: Database, connections: int) -> bool:
    return await _connections(database) == connections


def test_what_a_pooler_passes_on_of_a_server_that_starts_is_away() -> None:
    """With the code of a broken protocol, for the login was the pooler's own."""
    told = "the database system is not yet accepting connections"
    with pytest.raises(DatabaseAway, match=told), coded_errors():
        raise asyncpg.ProtocolViolationError(told)
