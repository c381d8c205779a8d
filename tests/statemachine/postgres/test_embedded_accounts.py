"""As whom the embedded Postgres runs, and whom it lets in."""

from __future__ import annotations

import asyncio
import os
import pwd
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
from pgkit.owners import refused, running, runs, select, server_pid
from waiting import until

from torpor_provisioner import accounts
from torpor_provisioner.accounts import Ids
from torpor_statemachine.postgres.embedded import access, account
from torpor_statemachine.postgres.embedded.account import OWN, Account
from torpor_statemachine.postgres.embedded.errors import FolderUnusable

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
only_where_there_are_many = pytest.mark.skipif(
    not accounts.is_mapped(OWN), reason="a user namespace without that account"
)


@only_root
@only_where_there_are_many
async def test_roots_server_runs_as_an_account_of_its_own(tmp_path: Path) -> None:
    async with running(tmp_path) as url:
        assert ids(server_pid(tmp_path), "Uid") == {OWN}
        assert ids(server_pid(tmp_path), "Gid") == {OWN}
        assert ids(server_pid(tmp_path), "Groups") == set()
        assert await select(url, "select current_user::text") == "root"
    owners = {file.lstat().st_uid for file in (tmp_path / "data").rglob("*")}
    assert owners == {OWN}, "no file belongs to the account that initdb ran as"
    assert (tmp_path / "postgres.log").stat().st_uid == 0


@only_root
async def test_data_of_an_earlier_version_stay_nobodys(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(tmp_path) as url:
        await select(url, "select 1")
    nobody = pwd.getpwnam("nobody")
    for file in (tmp_path / "data", *(tmp_path / "data").rglob("*")):
        os.chown(file, nobody.pw_uid, nobody.pw_gid)
    async with running(tmp_path) as url:
        assert ids(server_pid(tmp_path), "Uid") == {nobody.pw_uid}
        assert await select(url, "select 1") == 1
    assert "runs as nobody" in caplog.text


@only_root
@only_where_there_are_many
async def test_a_number_that_cannot_be_had_leaves_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a user namespace of 65,536 accounts, such as a rootless container's."""
    uid_map = tmp_path / "uid_map"
    uid_map.write_text("         0       1000          1\n         1     100000      65536\n")
    monkeypatch.setattr(accounts, "UID_MAP", uid_map)
    assert Account.for_this_process().uid == pwd.getpwnam("nobody").pw_uid
    uid_map.write_text("         0          0 4294967295\n")
    assert Account.for_this_process().uid == OWN
    monkeypatch.setattr(account, "OWN", pwd.getpwnam("daemon").pw_uid)
    assert Account.for_this_process().uid == pwd.getpwnam("nobody").pw_uid


async def test_being_the_owner_is_not_enough(tmp_path: Path) -> None:
    """A build may be the same user, and finds the socket; it would have to read our files too."""
    async with running(tmp_path) as url:
        assert await select(url, "select 1") == 1
        for wrong in ("", ":guessed"):
            parts = urlsplit(url)
            netloc = f"{parts.username}{wrong}@"
            with pytest.raises(asyncpg.InvalidPasswordError):
                await asyncpg.connect(parts._replace(netloc=netloc).geturl(), ssl=False)
        told = tmp_path / "server.json"
        assert told.stat().st_mode & 0o777 == 0o600
        assert told.stat().st_uid == os.geteuid()
        async with running(tmp_path) as another:  # another process of the same user
            assert another == url
        first = server_pid(tmp_path)
        os.kill(first, signal.SIGKILL)
        await until(lambda: server_pid_or(tmp_path, first) != first)
        await until_it_asks(url)
    secret = urlsplit(url).password
    assert secret
    assert secret not in (tmp_path / "postgres.log").read_text()
    async with running(tmp_path) as next_time:
        assert urlsplit(next_time).password != secret


async def until_it_asks(url: str) -> None:
    parts = urlsplit(url)
    without = parts._replace(netloc=f"{parts.username}:wrong@").geturl()
    async with asyncio.timeout(60):
        while True:
            try:
                await asyncpg.connect(without, ssl=False)
                pytest.fail("let in without the password")
            except asyncpg.InvalidPasswordError:
                return
            except (OSError, asyncpg.PostgresError):  # not up again yet
                await asyncio.sleep(0.02)


def server_pid_or(folder: Path, otherwise: int) -> int:
    try:
        return server_pid(folder)
    except (OSError, IndexError, ValueError):
        return otherwise


@only_root
async def test_the_servers_account_cannot_have_root_write_elsewhere(
    tmp_path: Path,
) -> None:
    async with running(tmp_path):
        pass
    precious = tmp_path / "precious"
    precious.write_text("kept")
    for name in (access.FILE, f"{access.FILE}.new"):
        (tmp_path / "data" / name).unlink(missing_ok=True)
        (tmp_path / "data" / name).symlink_to(precious)
    async with running(tmp_path) as url:
        assert await select(url, "select 1") == 1
    assert precious.read_text() == "kept"


def ids(pid: int, which: str) -> set[int]:
    status = Path(f"/proc/{pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith(f"{which}:")]
    return set(map(int, line.split()[1:]))


@only_root
async def test_no_other_account_is_let_in(tmp_path: Path) -> None:
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
    daemon = Account(*(ids := Ids(entry.pw_uid, entry.pw_gid)), "daemon", drops=False, maker=ids)
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
