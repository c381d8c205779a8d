"""Orgs, tokens and satellites in a database, and a way to cut a node off from it."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit
from uuid import UUID

import pytest

from torpor_router.access.store import Store
from torpor_statemachine.postgres.pool import Database


@pytest.fixture
def store(database: Database) -> Store:
    return Store(database)


@pytest.fixture
def satellite(database: Database) -> Callable[[str], Awaitable[UUID]]:
    """Make one by its full name; its org is made if need be."""

    async def make(full_name: str, state: str = "asleep") -> UUID:
        org, name = full_name.split("/")
        await database.execute("insert into orgs (name) values ($1) on conflict do nothing", org)
        return await database.fetchval(
            """
            insert into satellites (org_id, name, provisioner, arch, state)
            select id, $2, 'local', 'x86_64', $3 from orgs where name = $1
            returning id
            """,
            org,
            name,
            state,
        )

    return make


class Wire:
    """The way to a Postgres, which can be cut, or fall silent, for one client of it."""

    def __init__(self, url: str) -> None:
        self._url = urlsplit(url)
        [folder] = parse_qs(self._url.query)["host"]
        self._server = f"{folder}/.s.PGSQL.5432"
        self._folder = Path(tempfile.mkdtemp(prefix="wire-"))
        self._listener: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._passes = asyncio.Event()
        self._passes.set()

    @property
    def url(self) -> str:
        return self._url._replace(query=urlencode({"host": self._folder})).geturl()

    async def mend(self) -> None:
        self._passes.set()
        if self._listener is None:
            self._listener = await asyncio.start_unix_server(
                self._came, self._folder / ".s.PGSQL.5432"
            )

    async def cut(self) -> None:
        """As when the server goes: connections end, new ones are refused."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        (self._folder / ".s.PGSQL.5432").unlink(missing_ok=True)

    def hush(self) -> None:
        """As when a network drops packets: nothing ends, nothing comes."""
        self._passes.clear()

    async def aclose(self) -> None:
        await self.cut()
        shutil.rmtree(self._folder)

    async def _came(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        far_reader, far_writer = await asyncio.open_unix_connection(self._server)
        try:
            await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
        finally:
            for each in (writer, far_writer):
                each.close()
                with suppress(OSError):
                    await each.wait_closed()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            await self._passes.wait()
            writer.write(data)
            await writer.drain()
        writer.close()


@pytest.fixture
async def wire(database_url: str) -> AsyncIterator[Wire]:
    wire = Wire(database_url)
    await wire.mend()
    yield wire
    await wire.aclose()
