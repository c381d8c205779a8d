"""Deletes what has been kept for long enough: one node for all, every hour, in small steps."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta

from torpor_statemachine import clock
from torpor_statemachine.config import FleetConfig
from torpor_statemachine.postgres.pool import DatabaseAway
from torpor_statemachine.store.pruning import Pruning
from torpor_statemachine.store.turns import Turns

logger = logging.getLogger(__name__)

EVERY = 3600.0  # seconds
BREATH = 0.05  # seconds between two statements, for everybody else's


class Pruner:
    def __init__(self, turns: Turns, pruning: Pruning, config: FleetConfig) -> None:
        self._turns = turns
        self._pruning = pruning
        self._history = timedelta(days=config.history_days)
        self._usage = timedelta(days=config.usage_days)

    async def prune_for_ever(self) -> None:
        while True:
            await asyncio.sleep(clock.jittered(EVERY))
            try:
                await self.prune(EVERY / 2)
            except DatabaseAway:
                continue  # told by the heartbeat
            except Exception:
                logger.exception("what is old could not be deleted")

    async def prune(self, pause: float = 0.0) -> None:
        """Delete all that is due, unless a node has begun to within `pause` seconds. Who breaks off
        in the middle leaves the rest to the next turn."""
        if await self._turns.take("pruning", pause) is None:
            return
        steps = await self._steps()
        pruning, history, usage = self._pruning, self._history, self._usage
        satellites = await _all(lambda: pruning.satellites(history))
        totals = await _all(lambda: pruning.days(usage)) + await _all(lambda: pruning.hours(usage))
        if steps or satellites or totals:
            logger.info(
                "pruned %d steps and %d terminated satellites of over %d days ago, and %d totals of"
                " over %d",
                *(steps, satellites, history.days, totals, usage.days),
            )

    async def _steps(self) -> int:
        gone = 0
        pruned = await self._pruning.transitions(self._history, None)
        while pruned is not None:
            gone += pruned.gone
            await asyncio.sleep(BREATH)
            pruned = await self._pruning.transitions(self._history, pruned)
        return gone


async def _all(some: Callable[[], Awaitable[int]]) -> int:
    gone = 0
    while now := await some():
        gone += now
        await asyncio.sleep(BREATH)
    return gone
