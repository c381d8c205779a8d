"""Log lines that strangers can cause: few enough that they cannot fill a disk or stall the loop."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping

PER_SECOND = 10.0
AT_ONCE = 100.0


class RateLimit:
    """So many at once, and so many a second in the long run; counts what is left out."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left = AT_ONCE
        self._filled = clock()
        self._unsaid = 0

    def __repr__(self) -> str:
        return f"<RateLimit {self._left:.0f} left, {self._unsaid} unsaid>"

    def take(self) -> int | None:
        """How many were left out before this one; None if this one is left out too."""
        now = self._clock()
        self._left = min(AT_ONCE, self._left + (now - self._filled) * PER_SECOND)
        self._filled = now
        if self._left < 1:
            self._unsaid += 1
            return None
        self._left -= 1
        unsaid, self._unsaid = self._unsaid, 0
        return unsaid


class RateLimitedLog:
    """Leaves lines out once there are too many, and says with the next how many that were."""

    def __init__(self, log: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._limit = RateLimit(clock)

    def __repr__(self) -> str:
        return f"<RateLimitedLog {self._log.name} {self._limit}>"

    def info(self, message: str, extra: Mapping[str, object]) -> None:
        self._say(logging.INFO, message, extra)

    def warning(self, message: str, extra: Mapping[str, object]) -> None:
        self._say(logging.WARNING, message, extra)

    def error(self, message: str, exc_info: BaseException) -> None:
        self._say(logging.ERROR, message, {}, exc_info)

    def _say(
        self,
        level: int,
        message: str,
        extra: Mapping[str, object],
        exc_info: BaseException | None = None,
    ) -> None:
        unsaid = self._limit.take()
        if unsaid is not None:
            fields = {"unsaid": unsaid} if unsaid else {}
            self._log.log(level, message, extra={**extra, **fields}, exc_info=exc_info)


class RateLimitFilter(logging.Filter):
    """The same for loggers of libraries, whose lines we do not write. To be put on a handler."""

    def __init__(self, loggers: Iterable[str], clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._limits = {name: RateLimit(clock) for name in loggers}

    def filter(self, record: logging.LogRecord) -> bool:
        for name, limit in self._limits.items():
            if record.name == name or record.name.startswith(f"{name}."):
                unsaid = limit.take()
                if unsaid:
                    record.unsaid = unsaid
                return unsaid is not None
        return True
