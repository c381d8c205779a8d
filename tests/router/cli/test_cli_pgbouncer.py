"""The commands that read the database themselves, behind Debian's PgBouncer."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pgkit.servers import Server, needs_pgbouncer, needs_postgres, pgbouncer
from waiting import LONG

pytestmark = [needs_postgres, needs_pgbouncer]


@pytest.fixture
async def behind() -> AsyncIterator[tuple[Server, str]]:
    async with Server.made() as server, pgbouncer(server) as url:
        yield server, url


async def _torpor(url: str, *arguments: str) -> tuple[int, str]:
    """A process of its own, as an operator starts it: its exit code, and all that it said."""
    running = await _started(url, *arguments)
    said, _ = await running.communicate()
    assert running.returncode is not None
    return running.returncode, said.decode()


async def _started(url: str, *arguments: str) -> Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "torpor_router.cli.torpor", *arguments),
        env={**os.environ, "TORPOR_DATABASE_URL": url, "TORPOR_LOCAL_ACCOUNTS": "router"},
        stdout=PIPE,
        stderr=STDOUT,
    )


async def test_every_command_works_and_migrate_prints_what_is_left(
    behind: tuple[Server, str],
) -> None:
    server, url = behind
    code, said = await _torpor(url, "migrate")
    assert code == 0
    statements = [line.strip() for line in said.splitlines() if line.startswith("  alter role")]
    assert any("idle_in_transaction_session_timeout" in line for line in statements)
    for statement in statements:
        await server.execute(statement)
    for arguments in (
        ("org", "create", "acme"),
        ("org", "create", "other"),
        ("org", "ls"),
        ("token", "create", "acme", "ci"),
        ("token", "ls", "acme"),
        ("fleet", "ls"),
        ("cert", "ls"),
    ):
        code, said = await _torpor(url, *arguments)
        assert code == 0, said


async def test_a_router_starts_with_poll_only_and_is_refused_without(
    behind: tuple[Server, str], tmp_path: Path
) -> None:
    _, url = behind
    options = ("--listen", "127.0.0.1:0", "--metrics", "off", "--data", str(tmp_path))
    code, said = await _torpor(url, "serve", *options)
    assert code != 0
    error, remedy = said.splitlines()[-2:]
    assert "TPR-5208" in error
    assert "--poll-only" in remedy
    assert "Traceback" not in said
    router = await _started(url, "serve", "--poll-only", *options)
    assert router.stdout is not None
    lines: list[str] = []
    async with asyncio.timeout(LONG):
        while "listens on" not in (lines or [""])[-1]:
            lines.append((await router.stdout.readline()).decode())
            assert lines[-1], lines
    assert any("torpor migrate" in line for line in lines)  # the role's settings are not there
    assert len(list((tmp_path / "nodes").iterdir())) == 1  # the proof of its life
    router.terminate()
    rest, _ = await router.communicate()
    assert router.returncode == 0, rest.decode()
    assert "Traceback" not in rest.decode()
    assert not list((tmp_path / "nodes").iterdir())
