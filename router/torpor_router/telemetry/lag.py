"""How late the event loop is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

PAUSE = 0.1  # seconds between two looks
STALLED = 30.0  # seconds without a look until the loop is called stalled


class LagSampler:
    """Tells `record` the seconds by which a timer came late, again and again, in `run`."""

    def __init__(self, record: Callable[[float], None]) -> None:
        self._record = record
        self._looked = time.monotonic()
        self._worst = 0.0

    def __repr__(self) -> str:
        return f"<LagSampler looked {self.since_last:.3f} s ago>"

    @property
    def since_last(self) -> float:
        """Seconds since the loop last ran this; to be read from another thread."""
        return time.monotonic() - self._looked

    def worst(self) -> float:
        """The worst lag since the last call, in seconds."""
        worst, self._worst = self._worst, 0.0
        return worst

    async def run(self) -> None:
        self._looked = time.monotonic()
        while True:
            await asyncio.sleep(PAUSE)
            now = time.monotonic()
            lag = max(0.0, now - self._looked - PAUSE)
            self._record(lag)
            self._worst = max(self._worst, lag)
            self._looked = now
