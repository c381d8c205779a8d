"""The embedded Postgres: kept across restarts, shared, watched, and never left behind."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import textwrap
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest

from torpor_statemachine.database import Database
from torpor_statemachine.postgres import EmbeddedPostgres, EmbeddedPostgresError
from torpor_statemachine.postgres import binaries as wheel
from torpor_statemachine.postgres.account import Account
from torpor_statemachine.postgres.errors import (
    FolderInUse,
    FolderOfAnotherVersion,
    FolderUnusable,
    NoPostgres,
    PostgresFailed,
)

LONG = 90.0  # seconds until a test is called broken
AS_ROOT = os.geteuid() == 0
only_root = pytest.mark.skipif(not AS_ROOT, reason="only root can become another user")

# Tells the server's URL and stays until its input ends. What it needs is imported before it
# becomes `user`, who may not be able to read it.
OWNER = """
import asyncio, concurrent.futures.thread, os, pwd, sys
from pathlib import Path
import asyncpg
from torpor_statemachine.postgres import EmbeddedPostgres, server

folder, user, sys.executable = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
if user:
    account = pwd.getpwnam(user)
    os.setgroups([])
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)

async def main():
    async with EmbeddedPostgres(folder, volatile=True).running() as url:
        print(url, flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""


@pytest.fixture
async def own() -> AsyncIterator[Callable[..., Awaitable[tuple[Process, str]]]]:
    """Start a process that runs a server in a folder; the process and the server's URL."""
    owners: list[Process] = []

    async def start(
        folder: Path, user: str = "", python: str = sys.executable
    ) -> tuple[Process, str]:
        owner = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", OWNER, str(folder), user, python),
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
        )
        owners.append(owner)
        assert owner.stdout is not None
        url = (await asyncio.wait_for(owner.stdout.readline(), LONG)).decode().strip()
        if not url:
            assert owner.stderr is not None
            pytest.fail((await owner.stderr.read()).decode())
        return owner, url

    yield start
    for owner in owners:
        if owner.returncode is None:
            owner.kill()
        await owner.communicate()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter, which pytest's own is not."""
    folder = Path(tempfile.mkdtemp(prefix="open-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


async def select(url: str, sql: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


def server_pid(folder: Path) -> int:
    return int((folder / "data" / "postmaster.pid").read_text().split()[0])


def sockets_of(url: str) -> Path:
    [folder] = parse_qs(urlsplit(url).query)["host"]
    return Path(folder)


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LONG):
        while not condition():
            await asyncio.sleep(0.02)


@asynccontextmanager
async def running(folder: Path, **options: object) -> AsyncIterator[str]:
    async with (
        asyncio.timeout(LONG),
        EmbeddedPostgres(folder, volatile=True, **options).running() as url,
    ):
        yield url


async def test_data_is_kept_across_restarts_and_nothing_else(tmp_path: Path) -> None:
    async with running(tmp_path) as url:
        await select(url, "create table kept (n int)")
        await select(url, "insert into kept values (42)")
        pid, sockets = server_pid(tmp_path), sockets_of(url)
    assert not runs(pid)
    assert not sockets.exists()
    async with running(tmp_path) as url:
        assert await select(url, "select n from kept") == 42


async def test_who_leaves_at_once_leaves_no_server(tmp_path: Path) -> None:
    async with running(tmp_path):
        pid = server_pid(tmp_path)
    assert not runs(pid)


async def test_it_is_a_database_for_torpor_and_for_this_machine_only(tmp_path: Path) -> None:
    async with running(tmp_path, settings={"work_mem": "5MB"}) as url, Database(url) as database:
        assert await database.fetchval("show listen_addresses") == ""
        assert await database.fetchval("show server_encoding") == "UTF8"
        assert await database.fetchval("show work_mem") == "5MB"
        assert await database.fetchval("show max_connections") == "200"
        assert stat.S_IMODE(sockets_of(url).stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700


async def test_whoever_comes_second_shares_the_server(tmp_path: Path, own) -> None:
    _, theirs = await own(tmp_path)
    async with running(tmp_path) as first, running(tmp_path) as second:
        assert first == second == theirs
        await select(first, "create table shared ()")
    assert await select(theirs, "select to_regclass('shared')::text") == "shared", "it goes on"


async def test_who_comes_second_knows_that_it_is_anothers(tmp_path: Path) -> None:
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
            assert found == "kept"
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
    monkeypatch.setattr("torpor_statemachine.postgres.folder.LONGEST_LOG", 10)
    (tmp_path / "postgres.log").write_text("x" * 100)
    async with running(tmp_path):
        pass
    assert (tmp_path / "postgres.log.1").read_text() == "x" * 100


async def refused(folder: Path, error: type[EmbeddedPostgresError], **options: object) -> str:
    with pytest.raises(error) as failed:
        async with running(folder, **options):
            pytest.fail("it runs")
    assert failed.value.code in str(failed.value)
    return str(failed.value)


async def test_a_folder_of_another_version_is_left_alone(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    account = Account.for_this_process()
    os.chown(data, account.uid, account.gid)
    (data / "PG_VERSION").write_text("9\n")
    assert "by 9" in await refused(tmp_path, FolderOfAnotherVersion)
    assert [path.name for path in data.iterdir()] == ["PG_VERSION"]


async def test_a_folder_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "file" in await refused(tmp_path / "file" / "below", FolderUnusable)
    empty = tmp_path / "empty"
    (empty / "data").mkdir(parents=True, mode=0o700)
    account = Account.for_this_process()
    os.chown(empty / "data", account.uid, account.gid)
    assert "holds no data" in await refused(empty, FolderUnusable)
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "server.json").write_text("{")
    await refused(broken, FolderUnusable)


async def test_broken_data_is_told_in_the_servers_own_words(tmp_path: Path) -> None:
    async with running(tmp_path):
        pass
    (tmp_path / "data" / "global" / "pg_control").write_bytes(b"broken")
    assert "pg_control" in await refused(tmp_path, PostgresFailed)
    async with asyncio.timeout(LONG):  # nothing of the failed start is left
        await refused(tmp_path, PostgresFailed)


async def test_a_setting_that_postgres_does_not_know_is_told(tmp_path: Path) -> None:
    told = await refused(tmp_path, PostgresFailed, settings={"no_such_setting": "1"})
    assert "no_such_setting" in told


async def test_a_folder_whose_owner_does_not_serve_is_in_use(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("torpor_statemachine.postgres.server.WAIT_FOR_OTHER", 0.3)
    holder = EmbeddedPostgres(tmp_path)._folder
    holder.prepare()
    held = holder.own()
    assert held is not None
    try:
        assert str(tmp_path) in await refused(tmp_path, FolderInUse)
    finally:
        os.close(held)


async def test_without_any_postgres_it_says_what_to_do(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(wheel, "WHEEL", "no_such_package")
    monkeypatch.setattr(wheel, "_DEBIAN", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "TORPOR_DATABASE_URL" in await refused(tmp_path / "data", NoPostgres)


async def test_the_systems_newest_postgres_serves_where_there_is_no_wheel(
    open_folder: Path, monkeypatch
) -> None:
    for version in ("9.6", "16", "17", "nonsense"):
        programs = open_folder / version / "bin"
        programs.mkdir(parents=True)
        for name in ("postgres", "initdb"):
            (programs / name).write_text(f"#!/bin/sh\necho 'postgres (PostgreSQL) {version}'\n")
            (programs / name).chmod(0o755)
    monkeypatch.setattr(wheel, "WHEEL", "no_such_package")
    monkeypatch.setattr(wheel, "_DEBIAN", open_folder)
    monkeypatch.setenv("PATH", str(open_folder))
    found = wheel.find(Account.for_this_process())
    assert (found.major, found.folder) == (17, open_folder / "17" / "bin")
    (open_folder / "17" / "bin" / "initdb").chmod(0o600)
    assert wheel.find(Account.for_this_process()).major == 16


@only_root
async def test_roots_server_runs_as_nobody(tmp_path: Path) -> None:
    async with running(tmp_path) as url:
        status = Path(f"/proc/{server_pid(tmp_path)}/status").read_text()
        [uids] = [line for line in status.splitlines() if line.startswith("Uid:")]
        nobody = pwd.getpwnam("nobody")
        assert set(uids.split()[1:]) == {str(nobody.pw_uid)}
        [groups] = [line for line in status.splitlines() if line.startswith("Groups:")]
        assert groups.split()[1:] == []
        assert await select(url, "select current_user::text") == "root"
    assert (tmp_path / "data").stat().st_uid == nobody.pw_uid
    assert (tmp_path / "postgres.log").stat().st_uid == 0


@only_root
async def test_nobody_else_is_let_in(tmp_path: Path) -> None:
    async with running(tmp_path) as url:
        for user in ("nobody", "daemon"):
            script = textwrap.dedent(f"""
                import asyncio, asyncpg, os, pwd, ssl
                account = pwd.getpwnam({user!r})
                os.setgroups([])
                os.setgid(account.pw_gid)
                os.setuid(account.pw_uid)
                asyncio.run(asyncpg.connect({url!r}, ssl=False))
            """)
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", script, stderr=subprocess.PIPE
            )
            _, told = await process.communicate()
            assert process.returncode != 0
            assert b"PermissionError" in told or b"Peer authentication failed" in told, told


@only_root
async def test_a_user_without_privileges_runs_it_as_itself(open_folder: Path, own) -> None:
    entry = pwd.getpwnam("daemon")
    daemon = Account(entry.pw_uid, entry.pw_gid, "daemon", drops=False)
    os.chown(open_folder, daemon.uid, daemon.gid)
    for python in (sys.executable, "/usr/bin/python3"):
        if Path(python).exists() and daemon.may_run(Path(python).resolve()):
            break
    else:
        pytest.skip("no Python here that another user may run")
    owner, _ = await own(open_folder, "daemon", python)
    pid = server_pid(open_folder)
    assert Path(f"/proc/{pid}").stat().st_uid == daemon.uid
    owner.kill()
    await owner.wait()
    await until(lambda: not runs(pid))
    assert (open_folder / "data").stat().st_uid == daemon.uid
    assert "another user" in await refused(open_folder, FolderUnusable)
