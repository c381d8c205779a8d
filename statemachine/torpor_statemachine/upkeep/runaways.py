"""Looks for runaways: one node for all, every ten minutes. See `lifecycle.runaway`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from uuid import UUID

from torpor_provisioner.errors import TorporError
from torpor_statemachine import clock
from torpor_statemachine.lifecycle.runaway import PAST, judged
from torpor_statemachine.postgres.pool import DatabaseAway
from torpor_statemachine.store.runaways import Candidate, Runaways
from torpor_statemachine.store.turns import Turns

logger = logging.getLogger(__name__)

EVERY = 600.0  # seconds
_DAY = timedelta(days=1)


class RunawayWatch:
    """`sleep` puts a satellite to sleep by force."""

    def __init__(
        self, turns: Turns, runaways: Runaways, sleep: Callable[[UUID], Awaitable[object]]
    ) -> None:
        self._turns = turns
        self._runaways = runaways
        self._sleep = sleep

    async def watch_for_ever(self) -> None:
        while True:
            await asyncio.sleep(clock.jittered(EVERY))
            try:
                await self.look(EVERY / 2)
            except DatabaseAway:
                continue  # told by the heartbeat
            except Exception:
                logger.exception("a look for runaways failed")

    async def look(self, pause: float = 0.0) -> None:
        """Write what is found, and put to sleep what is suspended, unless a node has begun to
        within `pause` seconds."""
        if await self._turns.take("runaways", pause) is None:
            return
        for one in (await self._runaways.candidates()).values():
            await self._judge(one)
        for satellite_id in await self._runaways.to_sleep():
            try:
                await self._sleep(satellite_id)
            except TorporError as error:  # the next look tries again
                logger.warning("the runaway %s was not put to sleep: %s", satellite_id, error)
        await self._runaways.forget()

    async def _judge(self, one: Candidate) -> None:
        for day in (one.today - _DAY, one.today):
            past = [one.days[each] for each in one.days if day - PAST * _DAY <= each < day]
            why = judged(one.days[day], past) if day in one.days else None
            if why is not None and await self._runaways.found(one.id, day, why):
                logger.warning("satellite %s: %s", one.id, why)
