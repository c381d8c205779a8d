"""What an operator sees of this node in the database, and wants of it there ('torpor drain')."""

from __future__ import annotations

import asyncio
import logging
from importlib.metadata import version

from torpor_router.door import Door
from torpor_router.telemetry.telemetry import Telemetry
from torpor_statemachine.store.nodes import NodeReport

logger = logging.getLogger(__name__)

END = "end"  # as in migrations/


class Wanted:
    def __init__(self, listens: str, door: Door, telemetry: Telemetry) -> None:
        self._version = version("torpor")
        self._listens = listens
        self._door = door
        self._telemetry = telemetry
        self._phase = "serving"
        self._drain = asyncio.Event()
        self._end = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Wanted of a node that is {self._phase}>"

    def report(self) -> NodeReport:
        return NodeReport(
            version=self._version,
            listens=self._listens,
            phase=self._phase,
            streams=self._door.relay.counts.streams,
            lag=self._telemetry.lag.worst(),
        )

    def drain(self, how: str) -> None:
        """An operator wants it, by the last heartbeat."""
        if how == END:
            self._end.set()
        if not self._drain.is_set():
            logger.info("draining: an operator wants it")
            self._drain.set()

    async def either(self, stop: asyncio.Event) -> None:
        """Return when the process is to stop, or the node to drain."""
        await _first(stop, self._drain)
        self._phase = "draining"

    def drained(self) -> None:
        self._phase = "drained"

    async def end(self, stop: asyncio.Event) -> None:
        """Return when the process is to end: a drained node goes on with its other duties."""
        await _first(stop, self._end)


async def _first(*events: asyncio.Event) -> None:
    waits = [asyncio.create_task(each.wait()) for each in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waits:
            each.cancel()
