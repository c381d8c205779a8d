"""Embedded Postgres servers as tests see them: their owners, their processes, their refusals."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest
from waiting import LONG

from torpor_statemachine.postgres.embedded import EmbeddedPostgres, EmbeddedPostgresError

StartOwner = Callable[..., Awaitable[tuple[Process, str]]]


# Tells the server's URL and stays until its input ends. What it needs is imported before it
# becomes `user`, who may not be able to read it.
OWNER = """
import asyncio, concurrent.futures.thread, os, pwd, sys
from pathlib import Path
import asyncpg
from torpor_statemachine.postgres.embedded import EmbeddedPostgres, server

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


@asynccontextmanager
async def owners() -> AsyncIterator[StartOwner]:
    """Starts processes that run a server in a folder: gives the process and the server's URL."""
    started: list[Process] = []

    async def start(
        folder: Path, user: str = "", python: str = sys.executable
    ) -> tuple[Process, str]:
        owner = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", OWNER, str(folder), user, python),
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
        )
        started.append(owner)
        assert owner.stdout is not None
        url = (await asyncio.wait_for(owner.stdout.readline(), LONG)).decode().strip()
        if not url:
            assert owner.stderr is not None
            pytest.fail((await owner.stderr.read()).decode())
        return owner, url

    try:
        yield start
    finally:
        for owner in started:
            if owner.returncode is None:
                owner.kill()
            await owner.communicate()


@asynccontextmanager
async def running(folder: Path, **options: Any) -> AsyncIterator[str]:
    async with (
        asyncio.timeout(LONG),
        EmbeddedPostgres(folder, volatile=True, **options).running() as url,
    ):
        yield url


async def refused(folder: Path, error: type[EmbeddedPostgresError], **options: Any) -> str:
    with pytest.raises(error) as failed:
        async with running(folder, **options):
            pytest.fail("it runs")
    assert failed.value.code in str(failed.value)
    return str(failed.value)


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
