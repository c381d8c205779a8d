"""The status page over a database, as a router serves it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import aiohttp

from torpor_router.access.directory import Directory
from torpor_router.access.roles import Role
from torpor_router.access.sessions import Sessions
from torpor_router.access.store import Store
from torpor_router.door import bound
from torpor_router.limits import Limits
from torpor_router.status.app import App
from torpor_router.status.listener import Listener
from torpor_router.usage.prices import NO_PRICES, Prices
from torpor_statemachine.config import FleetConfig
from torpor_statemachine.lifecycle.satellite import Satellite, Transition
from torpor_statemachine.postgres.pool import Database
from torpor_statemachine.store.explaining import Explaining
from torpor_statemachine.store.keeping import Keeping
from torpor_statemachine.store.pauses import Pauses
from torpor_statemachine.store.permits import Permits
from torpor_statemachine.store.queries import Queries


class Reading:
    """What the page reads of a `Fleet`, without one."""

    def __init__(self, database: Database) -> None:
        self._queries = Queries(database)
        keeping = Keeping(database, FleetConfig(), uuid4())
        self._explaining = Explaining(self._queries, keeping, Pauses(database), Permits(database))

    async def find(self, org_id: Any, name: str) -> Satellite | None:
        return await self._explaining.find(org_id, name)

    async def history(self, satellite_id: Any, limit: int) -> list[Transition]:
        return await self._queries.history(satellite_id, limit)


@dataclass
class Status:
    """`url` has no slash at its end."""

    url: str
    database: Database
    directory: Directory
    sessions: Sessions
    store: Store
    app: App
    listener: Listener

    async def token(self, org: str = "", name: str = "", role: Role | None = None) -> str:
        """An admin's, or an operator's without an org."""
        if org:
            made = "insert into orgs (name) values ($1) on conflict do nothing"
            await self.database.execute(made, org)
        role = role or (Role.ADMIN if org else Role.OPERATOR)
        name = name or f"t-{uuid4().hex[:8]}"
        _, text = await self.store.create_token(org, name, role=role)
        return text

    @asynccontextmanager
    async def browser(self, token: str | None = None) -> AsyncIterator[aiohttp.ClientSession]:
        """A client with cookies, signed in with the token."""
        jar = aiohttp.CookieJar(unsafe=True)
        timeout = aiohttp.ClientTimeout(total=60)
        async with aiohttp.ClientSession(self.url, cookie_jar=jar, timeout=timeout) as session:
            if token is not None:
                async with session.post("/signin", data={"token": token}) as answer:
                    assert answer.status == 200, await answer.text()
            yield session


@asynccontextmanager
async def served(
    database: Database,
    *,
    prices: Prices = NO_PRICES,
    limits: Limits | None = None,
    patience: float = 10.0,
) -> AsyncIterator[Status]:
    sock = bound("127.0.0.1", 0)
    sessions = Sessions(database)
    async with Directory(database, patience=patience) as directory:
        app = App(
            database=database,
            fleet=Reading(database),
            directory=directory,
            sessions=sessions,
            prices=prices,
            tls=False,
            port=sock.getsockname()[1],
        )
        listener = Listener(app, limits or Limits())
        host, port = await listener.listen(sock, None)
        try:
            yield Status(
                f"http://{host}:{port}",
                database,
                directory,
                sessions,
                Store(database),
                app,
                listener,
            )
        finally:
            await listener.aclose()
            await asyncio.sleep(0)
