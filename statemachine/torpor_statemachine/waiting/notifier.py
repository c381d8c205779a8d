"""Who wants to hear that a satellite has changed, and is told so at once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from uuid import UUID


class Watch:
    """Remembers that something changed until it is asked. Clear it before reading the row."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    def clear(self) -> None:
        self._changed.clear()

    def tell(self) -> None:
        self._changed.set()

    async def wait(self, longest: float) -> None:
        """Until something changed, or `longest` seconds have passed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(longest):
                await self._changed.wait()


class Notifier:
    """A satellite's change, from whoever learns of it to all that wait for it in this process."""

    def __init__(self) -> None:
        self._watches: dict[UUID, set[Watch]] = {}

    def __repr__(self) -> str:
        return f"<Notifier watching {len(self._watches)} satellites>"

    @contextmanager
    def watch(self, satellite_id: UUID) -> Iterator[Watch]:
        watch = Watch()
        self._watches.setdefault(satellite_id, set()).add(watch)
        try:
            yield watch
        finally:
            watches = self._watches[satellite_id]
            watches.discard(watch)
            if not watches:
                del self._watches[satellite_id]

    def tell(self, satellite_id: UUID) -> None:
        for watch in self._watches.get(satellite_id, ()):
            watch.tell()

    def tell_all(self) -> None:
        """After a time in which changes may have been missed."""
        for watches in self._watches.values():
            for watch in watches:
                watch.tell()
