"""Deletes what has been kept for long enough: old acts, tokens of jobs, used assertions, ...

Every node does so once an hour, at its own time, in small statements.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Self

from torpor_statemachine import clock
from torpor_statemachine.postgres.pool import DatabaseAway

log = logging.getLogger(__name__)

EVERY = 3_600.0  # seconds


class Housekeeping:
    """Works inside its context. Each of `prunes` deletes some, and says how many."""

    def __init__(self, prunes: Sequence[Callable[[], Awaitable[int]]]) -> None:
        self._prunes = prunes
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._keep_pruning(), name="access housekeeping")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def prune(self) -> None:
        """
        Raises:
            DatabaseAway: not all of it could be done.
        """
        for some in self._prunes:
            while await some():
                pass

    async def _keep_pruning(self) -> None:
        while True:
            await asyncio.sleep(clock.jittered(EVERY))
            try:
                await self.prune()
            except DatabaseAway as error:
                log.debug("housekeeping waits: %s", error)
            except Exception:
                log.exception("housekeeping failed")
