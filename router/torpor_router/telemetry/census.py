"""How many satellites are in which state, and how many machines are strays: asked of the database
at most every few seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from torpor_statemachine.postgres.pool import Database, DatabaseAway
from torpor_statemachine.store.census import Counting

AGE = 10.0  # seconds for which an answer is not asked for again


class Census:
    """`counts` and `strays` (by provisioner) are None until asked for, and while the database is
    away."""

    def __init__(self, database: Database) -> None:
        self._counting = Counting(database)
        self._refreshed_at = float("-inf")
        self._asking: asyncio.Task[None] | None = None
        self.counts: Mapping[str, int] | None = None
        self.strays: Mapping[str, int] | None = None

    def __repr__(self) -> str:
        return f"<Census {self.counts}>"

    async def refresh(self) -> None:
        """Bring `counts` up to date, unless that was done just now. Many at once are one query."""
        if self._asking is None:
            if asyncio.get_running_loop().time() - self._refreshed_at < AGE:
                return
            self._asking = asyncio.create_task(self._ask())
        await asyncio.shield(self._asking)

    async def aclose(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait([self._asking])

    async def _ask(self) -> None:
        try:
            found = await self._counting.counts()
            self.counts, self.strays = found.states, found.strays
        except DatabaseAway:
            self.counts = self.strays = None
        finally:
            self._refreshed_at = asyncio.get_running_loop().time()
            self._asking = None
