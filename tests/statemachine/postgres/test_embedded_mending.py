"""The embedded Postgres finds things broken, and puts them right by itself."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import asyncpg
from pgkit.owners import running, select, server_pid, sockets_of
from waiting import LONG


async def test_a_server_that_dies_is_started_again(tmp_path: Path) -> None:
    async with running(tmp_path) as url:
        await select(url, "create table kept ()")
        for _ in range(2):
            pid = server_pid(tmp_path)
            os.kill(pid, signal.SIGKILL)
            async with asyncio.timeout(LONG):
                while True:
                    try:
                        found = await select(url, "select to_regclass('kept')::text")
                    except (OSError, asyncpg.PostgresError):
                        await asyncio.sleep(0.05)
                    else:
                        break
            assert found == "kept"  # type: ignore[possibly-undefined]
            assert server_pid(tmp_path) != pid


async def test_a_server_that_was_killed_over_its_half_made_locks_is_started_again(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as url:
        pid = server_pid(tmp_path)
        for lock in (tmp_path / "data" / "postmaster.pid", *sockets_of(url).glob(".s.*.lock")):
            lock.write_bytes(b"")
        os.kill(pid, signal.SIGKILL)
        async with asyncio.timeout(LONG):
            while True:
                try:
                    assert await select(url, "select 1") == 1
                except (OSError, asyncpg.PostgresError):
                    await asyncio.sleep(0.05)
                else:
                    break
        assert server_pid(tmp_path) != pid


async def test_a_stale_pid_file_of_somebody_elses_process_is_no_matter(tmp_path: Path) -> None:
    async with running(tmp_path):
        pass
    (tmp_path / "data" / "postmaster.pid").write_text(f"{os.getpid()}\n{tmp_path}\n0\n5432\n\n\n")
    async with running(tmp_path) as url:
        assert await select(url, "select 1") == 1


async def test_a_half_made_folder_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "data.new").mkdir()
    (tmp_path / "data.new" / "PG_VERSION").write_text("18\n")
    async with running(tmp_path) as url:
        assert await select(url, "select 1") == 1
    assert not (tmp_path / "data.new").exists()


async def test_a_long_log_is_set_aside(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("torpor_statemachine.postgres.embedded.folder.LONGEST_LOG", 10)
    (tmp_path / "postgres.log").write_text("x" * 100)
    async with running(tmp_path):
        pass
    assert (tmp_path / "postgres.log.1").read_text() == "x" * 100
