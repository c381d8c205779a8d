"""As whom the embedded Postgres runs, and whom it lets in."""

from __future__ import annotations

import asyncio
import os
import pwd
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from embedded import refused, running, runs, select, server_pid, until

from torpor_statemachine.postgres.embedded.account import Account
from torpor_statemachine.postgres.embedded.errors import FolderUnusable

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


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
