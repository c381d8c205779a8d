"""Databases of one server, each migrated."""

from __future__ import annotations

from contextlib import AsyncExitStack
from uuid import uuid4

from torpor_statemachine.postgres.migrate import migrate, shipped
from torpor_statemachine.postgres.pool import Database


async def made(server: str, stack: AsyncExitStack, *, newest: str | None = None) -> Database:
    """An empty one, with the migrations up to the one named `newest`."""
    name = f"bench_{uuid4().hex[:8]}"
    async with Database(server) as admin:
        await admin.execute(f"create database {name}")
    url = server.replace("/postgres?", f"/{name}?")
    await migrate(url, [each for each in shipped() if newest is None or each.name <= newest])
    return await stack.enter_async_context(Database(url))
