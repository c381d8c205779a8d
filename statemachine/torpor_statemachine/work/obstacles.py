"""What a transition waits for, where everyone who waits for it can see it.

It is written beside the work and never waited for: a wake is worth more than the news of what
delays it. The satellite's next change takes it back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from torpor_provisioner.errors import TorporError
from torpor_statemachine.postgres.pool import DatabaseAway

logger = logging.getLogger(__name__)


class Obstacles:
    """What is in the way of one claim's work. `write` tells the database of the latest, or None."""

    def __init__(self, write: Callable[[TorporError | None], Awaitable[object]]) -> None:
        self._write = write
        self._met: dict[str, TorporError] = {}  # by what failed, the latest at the end
        self._written: TorporError | None = None
        self._writing: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Obstacles {list(self._met)}>"

    def met(self, what: str, error: TorporError) -> None:
        """`what` failed."""
        self._met.pop(what, None)
        self._met[what] = error
        self._go_on()

    def passed(self, *what: str) -> None:
        """These are in the way no more."""
        for each in what:
            self._met.pop(each, None)
        self._go_on()

    def clear(self) -> None:
        """The satellite has changed, and nothing is written there any more."""
        self._met.clear()
        self._written = None
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None

    def _latest(self) -> TorporError | None:
        return next(reversed(self._met.values()), None)

    def _differs(self) -> bool:
        return str(self._latest()) != str(self._written)

    def _go_on(self) -> None:
        if self._writing is None and self._differs():
            self._writing = asyncio.create_task(self._write_latest(), name="tell an obstacle")

    async def _write_latest(self) -> None:
        try:
            while self._differs():
                latest = self._latest()
                await self._write(latest)
                self._written = latest
        except DatabaseAway:
            pass  # told by the heartbeat; the next obstacle is written again
        except Exception:
            logger.exception("an obstacle could not be told")
        finally:
            if self._writing is asyncio.current_task():
                self._writing = None
