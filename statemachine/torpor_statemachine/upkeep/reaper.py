"""Puts to sleep what has been idle for long. Every node runs one; the claims share the work.

A failover may have lost leases, and what is idle by the new server may have streams open. So a
server is believed when every node has had its time to find out (`Node.settled_server`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from datetime import datetime

from torpor_statemachine import clock
from torpor_statemachine.config import FleetConfig
from torpor_statemachine.postgres.pool import DatabaseAway
from torpor_statemachine.store.idle import Idle
from torpor_statemachine.upkeep.pace import pace
from torpor_statemachine.work.coordinator import Coordinator

logger = logging.getLogger(__name__)


class Reaper:
    def __init__(
        self,
        idle: Idle,
        coordinator: Coordinator,
        provisioners: Collection[str],
        config: FleetConfig,
        *,
        settled_server: Callable[[], datetime | None],
        living: Callable[[], int],
    ) -> None:
        self._settled_server = settled_server
        self._provisioners = provisioners
        self._idle = idle
        self._coordinator = coordinator
        self._config = config
        self._living = living

    async def reap_for_ever(self) -> None:
        while True:
            await asyncio.sleep(clock.jittered(pace(self._config.reap, self._living())))
            try:
                await self.reap()
            except DatabaseAway:
                continue  # told by the heartbeat
            except Exception:
                logger.exception("a round of the reaper failed")

    async def reap(self) -> int:
        """Claim what is due; how many this node puts to sleep now."""
        if (server := self._settled_server()) is None:
            return 0
        claimed = await self._idle.claim(self._provisioners, self._config.reap_batch, server)
        for changed, by in claimed:
            self._coordinator.carry_out(changed, by)
        return len(claimed)
