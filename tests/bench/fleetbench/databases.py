"""Databases of one server, each migrated."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

from torpor_statemachine.postgres.migrate import migrate, shipped
from torpor_statemachine.postgres.pool import Database


@asynccontextmanager
async def made(server: str, *, newest: str | None = None) -> AsyncIterator[Database]:
    """An empty one, with the migrations up to the one named `newest`; dropped in the end."""
    name = f"bench_{uuid4().hex[:8]}"
    async with Database(server) as admin:
        await admin.execute(f"create database {name}")
        try:
            url = server.replace("/postgres?", f"/{name}?")
            await migrate(url, [one for one in shipped() if newest is None or one.name <= newest])
            async with Database(url) as database:
                yield database
        finally:
            await admin.execute(f"drop database {name} with (force)")
