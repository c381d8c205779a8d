"""Wakes those in this process that wait for a change of a satellite."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from uuid import UUID


class Subscription:
    """Keeps the news that something changed. Clear it before reading the row."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    def clear(self) -> None:
        self._changed.clear()

    def notify(self) -> None:
        self._changed.set()

    async def wait(self, longest: float) -> None:
        """Until something changed, or `longest` seconds have passed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(longest):
                await self._changed.wait()


class Notifier:
    """Passes the news of a satellite's change to every subscription in this process."""

    def __init__(self) -> None:
        self._subscriptions: dict[UUID, set[Subscription]] = {}

    def __repr__(self) -> str:
        return f"<Notifier for {len(self._subscriptions)} satellites>"

    @contextmanager
    def subscribe(self, satellite_id: UUID) -> Iterator[Subscription]:
        subscription = Subscription()
        self._subscriptions.setdefault(satellite_id, set()).add(subscription)
        try:
            yield subscription
        finally:
            of_satellite = self._subscriptions[satellite_id]
            of_satellite.discard(subscription)
            if not of_satellite:
                del self._subscriptions[satellite_id]

    def notify(self, satellite_id: UUID) -> None:
        for subscription in self._subscriptions.get(satellite_id, ()):
            subscription.notify()

    def notify_all(self) -> None:
        """After a time in which changes may have been missed."""
        for of_satellite in self._subscriptions.values():
            for subscription in of_satellite:
                subscription.notify()
