"""Satellites whose worker cannot be reached: their machines are looked at, once in a while each."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from uuid import UUID

from torpor_provisioner.errors import TorporError
from torpor_statemachine import clock
from torpor_statemachine.lifecycle.satellite import Satellite

logger = logging.getLogger(__name__)


class Suspects:
    """`look_at` compares a satellite with its machine; for one at most every `pause` seconds."""

    def __init__(
        self,
        get: Callable[[UUID], Awaitable[Satellite]],
        look_at: Callable[[Satellite], Awaitable[None]],
        pause: float,
    ) -> None:
        self._get = get
        self._look_at = look_at
        self._pause = pause
        self._looking: dict[UUID, asyncio.Task[None]] = {}

    def suspect(self, satellite_id: UUID) -> None:
        """See `gate.Gate.suspect`; however many connections fail, it is looked at once."""
        if satellite_id not in self._looking:
            task = asyncio.create_task(self._look(satellite_id), name=f"look at {satellite_id}")
            self._looking[satellite_id] = task

    async def _look(self, satellite_id: UUID) -> None:
        try:
            await self._look_at(await self._get(satellite_id))
            await asyncio.sleep(clock.jittered(self._pause))
        except TorporError as error:
            logger.info("the suspected satellite %s was not looked at: %s", satellite_id, error)
        finally:
            del self._looking[satellite_id]

    async def aclose(self) -> None:
        looking = list(self._looking.values())
        for task in looking:
            task.cancel()
        await asyncio.gather(*looking, return_exceptions=True)
