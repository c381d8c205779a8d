"""The embedded Postgres: kept across restarts, shared, and never left behind."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import asyncpg
from pgkit.owners import running, runs, select, server_pid, sockets_of
from waiting import until

from torpor_statemachine.postgres.embedded import EmbeddedPostgres
from torpor_statemachine.postgres.pool import Database


async def test_data_is_kept_across_restarts_and_nothing_else(tmp_path: Path) -> None:
    async with running(tmp_path) as url:
        await select(url, "create table kept (n int)")
        await select(url, "insert into kept values (42)")
        pid, sockets = server_pid(tmp_path), sockets_of(url)
    assert not runs(pid)
    assert not sockets.exists()
    async with running(tmp_path) as url:
        assert await select(url, "select n from kept") == 42


async def test_no_server_is_left_by_a_process_that_ends(tmp_path: Path) -> None:
    async with running(tmp_path):
        pid = server_pid(tmp_path)
    assert not runs(pid)


async def test_the_embedded_database_serves_this_machine_only(tmp_path: Path) -> None:
    async with running(tmp_path, settings={"work_mem": "5MB"}) as url, Database(url) as database:
        assert await database.fetchval("show listen_addresses") == ""
        assert await database.fetchval("show server_encoding") == "UTF8"
        assert await database.fetchval("show work_mem") == "5MB"
        assert await database.fetchval("show max_connections") == "200"
        assert stat.S_IMODE(sockets_of(url).stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700


async def test_a_second_process_shares_the_server(tmp_path: Path, own) -> None:
    _, theirs = await own(tmp_path)
    async with running(tmp_path) as first, running(tmp_path) as second:
        assert first == second == theirs
        await select(first, "create table shared ()")
    assert await select(theirs, "select to_regclass('shared')::text") == "shared", "it goes on"


async def test_a_second_process_knows_that_the_server_is_anothers(tmp_path: Path) -> None:
    first, second = (EmbeddedPostgres(tmp_path, volatile=True) for _ in range(2))
    async with first.running(), second.running():
        assert (first.is_anothers, second.is_anothers) == (False, True)


async def test_many_that_start_at_once_agree_on_one(tmp_path: Path) -> None:
    ready = asyncio.Barrier(4)

    async def start() -> str:
        async with running(tmp_path) as url:
            await ready.wait()
            return url

    urls = await asyncio.gather(*(start() for _ in range(4)))
    assert len(set(urls)) == 1


async def test_no_server_is_left_behind_by_an_owner_that_was_killed(tmp_path: Path, own) -> None:
    owner, url = await own(tmp_path)
    await select(url, "create table kept ()")
    pid, sockets = server_pid(tmp_path), sockets_of(url)
    owner.kill()
    await owner.wait()
    await until(lambda: not runs(pid))
    async with running(tmp_path) as again:
        assert await select(again, "select to_regclass('kept')::text") == "kept"
    assert not sockets.exists(), "the next owner tidies up"


async def test_an_owner_that_comes_while_the_last_server_ends_waits_for_it(
    tmp_path: Path, own
) -> None:
    owner, url = await own(tmp_path)
    connection = await asyncpg.connect(url)  # the server ends its sessions first
    owner.kill()
    await owner.wait()
    async with running(tmp_path) as again:
        assert await select(again, "select 1") == 1
    connection.terminate()
