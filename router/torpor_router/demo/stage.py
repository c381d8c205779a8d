"""What the story plays on: a database of its own, two routers as processes, an org and a token."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg

from torpor_provisioner.contract import Address
from torpor_provisioner.errors import Status, TorporError
from torpor_router.access.store import Store
from torpor_router.demo.clouds import AnyCloud
from torpor_router.probe import answers
from torpor_router.serve.ports import cannot_bind
from torpor_router.serve.run import DATABASE_URL
from torpor_router.serve.supervisor import PROCESS_INDEX
from torpor_statemachine.postgres.embedded import EmbeddedPostgres
from torpor_statemachine.postgres.migrate import migrate
from torpor_statemachine.postgres.pool import Database

ORG = "acme"
NODES = 2
PREFIX = "demo_"
START_BUDGET = 60.0  # seconds


class RouterDidNotStart(TorporError):
    code = "TPR-5401"
    status = Status.UNAVAILABLE
    cause = "A router of the demo did not start"
    remedy = "Its log says why; if its port is taken, give another with --port"


@dataclass(frozen=True, slots=True)
class Stage:
    """Where the routers listen, and who may come in."""

    targets: list[str]
    token: str
    logs: Path


@asynccontextmanager
async def staged(data: Path, cloud: AnyCloud, port: int) -> AsyncIterator[Stage]:
    """Start everything, and leave nothing behind at the end.

    Raises:
        TorporError: a part does not start, with the code of why.
    """
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(EmbeddedPostgres(data / "postgres").running())
        url = await stack.enter_async_context(_fresh_database(server))
        await migrate(url)
        token = await _token(url)
        await cloud.clear()
        stack.push_async_callback(cloud.clear)
        targets = []
        for number in range(NODES):
            address = Address("127.0.0.1", port + number)
            log = data / f"router-{number + 1}.log"
            await stack.enter_async_context(_router(address, url, data, cloud, log))
            targets.append(f"{address.host}:{address.port}")
        yield Stage(targets, token, data)


@asynccontextmanager
async def _fresh_database(server: str) -> AsyncIterator[str]:
    """Each demo begins with nothing; what a killed one left goes now."""
    name = PREFIX + secrets.token_hex(4)
    connection = await asyncpg.connect(server)
    try:
        left = await connection.fetch(
            "select datname from pg_database where datname like $1", PREFIX + "%"
        )
        for row in left:
            await connection.execute(f'drop database if exists "{row["datname"]}" with (force)')
        await connection.execute(f'create database "{name}"')
        yield urlsplit(server)._replace(path=f"/{name}").geturl()
        await connection.execute(f'drop database "{name}" with (force)')
    finally:
        await connection.close()


async def _token(url: str) -> str:
    async with Database(url) as database:
        store = Store(database)
        await store.create_org(ORG)
        _, text = await store.create_token(ORG, "demo")
        return text


@asynccontextmanager
async def _router(
    address: Address, url: str, data: Path, cloud: AnyCloud, log: Path
) -> AsyncIterator[None]:
    """One router. Its standard input is ours: when we are gone, however, it drains and ends."""
    _check_free(address)
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "torpor_router.cli.torpor", "serve"),
            *("--listen", f"{address.host}:{address.port}", "--metrics", "off"),
            *("--provisioner", cloud.name, "--data", str(data), "--drain", "2"),
            env={**os.environ, **cloud.environ, DATABASE_URL: url, PROCESS_INDEX: "0"},
            stdin=PIPE,
            stdout=out,
            stderr=out,
            start_new_session=True,  # a Ctrl-C is for us to pass on
        )
    try:
        await _serves(process, address, log)
        yield
    finally:
        await _end(process)


def _check_free(address: Address) -> None:
    """Routers share a port with others of their user: clients of both would meet either's."""
    if error := cannot_bind(*address):
        raise RouterDidNotStart(f"{address.host}:{address.port}: {error.strerror}") from error


async def _serves(process: Process, address: Address, log: Path) -> None:
    try:
        async with asyncio.timeout(START_BUDGET):
            while not await answers(address, 1.0):
                if process.returncode is not None:
                    raise RouterDidNotStart(f"{_why(log)} ({log})")
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise RouterDidNotStart(f"no answer after {START_BUDGET:.0f} s ({log})") from None


def _why(log: Path) -> str:
    """The line that tells the failure; what to do about it stands in the next."""
    lines = log.read_text(errors="replace").splitlines() or ["it said nothing"]
    return next((line for line in reversed(lines) if line.startswith("TPR-")), lines[-1])


async def _end(process: Process) -> None:
    if process.returncode is None:
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), 15)
        except TimeoutError:
            process.kill()
            await process.wait()
