"""Tells the database which requests wait at this node, for people who look at the whole fleet.

While nobody waits nothing is told; else once a second at most, and only what has changed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from uuid import UUID

from torpor_statemachine import clock
from torpor_statemachine.postgres.pool import DatabaseAway
from torpor_statemachine.store.holds import Group, Holds

logger = logging.getLogger(__name__)

EVERY = 1.0  # seconds


class HoldReporter:
    """`look` gives those that wait here, the oldest first."""

    def __init__(self, holds: Holds, look: Callable[[], Sequence[Group]]) -> None:
        self._holds = holds
        self._look = look
        self._reported: dict[UUID, int] = {}

    def __repr__(self) -> str:
        return f"<HoldReporter of {len(self._reported)} satellites>"

    async def report_for_ever(self) -> None:
        while True:
            await asyncio.sleep(clock.jittered(EVERY))
            try:
                await self.report()
            except DatabaseAway:
                continue  # the heartbeat reports that
            except Exception:
                logger.exception("who waits here could not be told")

    async def report(self) -> None:
        groups = self._look()
        now = {each.satellite_id: each.requests for each in groups}
        if now != self._reported:
            await self._holds.tell(groups)
            self._reported = now
