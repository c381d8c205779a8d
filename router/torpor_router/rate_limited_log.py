"""Log lines that strangers can cause: few enough that they cannot fill a disk or stall the loop."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping

PER_SECOND = 10.0
AT_ONCE = 100.0


class RateLimitedLog:
    """Leaves lines out once there are too many, and says with the next how many that were."""

    def __init__(self, log: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._clock = clock
        self._left = AT_ONCE
        self._filled = clock()
        self._unsaid = 0

    def __repr__(self) -> str:
        return f"<RateLimitedLog {self._left:.0f} left, {self._unsaid} unsaid>"

    def info(self, message: str, extra: Mapping[str, object]) -> None:
        self._say(logging.INFO, message, extra)

    def warning(self, message: str, extra: Mapping[str, object]) -> None:
        self._say(logging.WARNING, message, extra)

    def _say(self, level: int, message: str, extra: Mapping[str, object]) -> None:
        now = self._clock()
        self._left = min(AT_ONCE, self._left + (now - self._filled) * PER_SECOND)
        self._filled = now
        if self._left < 1:
            self._unsaid += 1
            return
        self._left -= 1
        unsaid = {"unsaid": self._unsaid} if self._unsaid else {}
        self._unsaid = 0
        self._log.log(level, message, extra={**extra, **unsaid})
