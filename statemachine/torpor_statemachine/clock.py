"""Time as trust is measured in it: never set back, and not stopped by a suspended machine."""

from __future__ import annotations

import random
import time

if hasattr(time, "CLOCK_BOOTTIME"):

    def now() -> float:
        """Seconds since the machine's start, those in which it was suspended included."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)
else:

    def now() -> float:
        """Seconds since some moment."""
        return time.monotonic()


def jittered(seconds: float) -> float:
    """Something near `seconds`, so that nodes which start together do not stay together."""
    return seconds * random.uniform(0.75, 1.25)  # noqa: S311 - spreads load, hides nothing


class Retry:
    """Pauses that double, with full jitter over their upper half."""

    def __init__(self, first: float, longest: float) -> None:
        self._next = first
        self._longest = longest

    def pause(self) -> float:
        """How long to wait now, in seconds."""
        pause, self._next = self._next, min(self._next * 2, self._longest)
        return pause * random.uniform(0.5, 1.0)  # noqa: S311 - as above
