"""What is read again when the operator asks for it with SIGHUP."""

from __future__ import annotations

import logging
import signal
from asyncio import AbstractEventLoop
from collections.abc import Callable

logger = logging.getLogger(__name__)


class Reload:
    """When called, calls every function that was `add`ed, in order."""

    def __init__(self) -> None:
        self._reads: list[Callable[[], None]] = []

    def __repr__(self) -> str:
        return f"<Reload of {len(self._reads)}>"

    def add(self, read: Callable[[], None]) -> None:
        self._reads.append(read)

    def on_signal(self, loop: AbstractEventLoop) -> None:
        loop.add_signal_handler(signal.SIGHUP, self)

    def __call__(self) -> None:
        logger.info("reloading")
        for read in self._reads:
            read()
