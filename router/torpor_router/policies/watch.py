"""Counts what orgs with a budget have spent: one router for all, every minute."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Self

from torpor_router.policies.budget import first_of_month, spent
from torpor_router.policies.budgets import Budgets, Watched
from torpor_router.usage.prices import Prices
from torpor_statemachine import clock
from torpor_statemachine.postgres.pool import Database, DatabaseAway
from torpor_statemachine.store.turns import Turns
from torpor_statemachine.store.usage import Usage

logger = logging.getLogger(__name__)

EVERY = 60.0  # seconds


class BudgetWatch:
    """Works inside its context."""

    def __init__(self, database: Database, prices: Prices) -> None:
        self._turns = Turns(database)
        self._usage = Usage(database)
        self._budgets = Budgets(database)
        self._prices = prices
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._watch_for_ever(), name="budgets")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def look(self, pause: float = 0.0) -> None:
        """Count, unless a router has begun to within `pause` seconds."""
        if await self._turns.take("budgets", pause) is None:
            return
        for one in await self._budgets.watched():
            await self._count(one)

    async def _count(self, one: Watched) -> None:
        month = first_of_month(one.today)
        totals = await self._usage.of_org(month, one.today, one.org_id)
        await self._budgets.counted(one, month, spent(totals, self._prices), self._prices.currency)

    async def _watch_for_ever(self) -> None:
        while True:
            try:
                await self.look(EVERY / 2)
            except DatabaseAway as error:
                logger.debug("budgets wait: %s", error)
            except Exception:
                logger.exception("what was spent could not be counted")
            await asyncio.sleep(clock.jittered(EVERY))
