"""Reports to the database whose streams keep satellites awake, with this node's heartbeat.

A stream costs nothing here: the door is asked, a heartbeat at a time, what is open. What has not
changed is not reported again, what changes all the time every few heartbeats, and never more than
so many leases at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from torpor_statemachine import clock
from torpor_statemachine.node.heartbeat import Node
from torpor_statemachine.node.lease_book import LeaseBook
from torpor_statemachine.postgres.pool import DatabaseAway
from torpor_statemachine.store.keeping import Group, Keeping, Report

logger = logging.getLogger(__name__)

PART = 200  # leases that are reported with one heartbeat
RARELY = 5  # heartbeats between two words on a lease whose streams change all the time
_AT_ONCE = 50  # satellites that are looked at before others have their turn


class Open(NamedTuple):
    """Open streams of one caller, method and address; the oldest `since`, on `clock.now`."""

    caller: str
    method: str
    peer: str
    number: int
    since: float


Look = Callable[[UUID], Sequence[Open]]


@dataclass(frozen=True, slots=True)
class KeptAwake:
    """What this node's streams keep awake. The oldest of them is open since `oldest`, on
    `clock.now`; None where there is none, or where it is not known."""

    satellites: int = 0
    streams: int = 0
    oldest: float | None = None


@dataclass(frozen=True, slots=True)
class _Known:
    lease: float  # when it was taken
    count: int
    open: Sequence[Open]
    at: float


class StreamReporter:
    """`look` gives the open streams of a satellite, the oldest first."""

    def __init__(self, keeping: Keeping, book: LeaseBook, node: Node, heartbeat: float) -> None:
        self._keeping = keeping
        self._book = book
        self._node = node
        self._rarely = heartbeat * RARELY
        self._known: dict[UUID, _Known] = {}
        self.look: Look | None = None
        self.kept_awake = KeptAwake()  # as of the last heartbeat; replaced, so any thread may read

    def __repr__(self) -> str:
        return f"<StreamReporter of {len(self._known)} leases>"

    async def report_for_ever(self) -> None:
        while True:
            await self._node.next_beat()
            try:
                await self.report()
            except DatabaseAway:
                continue  # the heartbeat reports that
            except Exception:
                logger.exception("whose streams are open could not be reported")

    async def report(self) -> None:
        """What is new, the leases first that nothing was reported of for the longest."""
        due = await self._due()
        due.sort(key=lambda each: self._at(each[0]))
        now = clock.now()
        part = [
            Report(satellite_id, known.count, [_group(each, now) for each in known.open])
            for satellite_id, known in due[:PART]
        ]
        if part:
            written = await self._keeping.report(part)
            self._known.update(each for each in due[:PART] if each[0] in written)

    def _at(self, satellite_id: UUID) -> float:
        known = self._known.get(satellite_id)
        return known.at if known is not None else 0.0

    async def _due(self) -> list[tuple[UUID, _Known]]:
        held = self._book.held()
        self._known = {key: known for key, known in self._known.items() if key in held}
        due, kept = [], KeptAwake()
        for number, satellite_id in enumerate(held):
            if number % _AT_ONCE == _AT_ONCE - 1:
                await asyncio.sleep(0)
            seen = self._seen(satellite_id)
            if seen is None:
                continue
            kept = _with(kept, seen)
            if self._is_news(satellite_id, seen):
                due.append((satellite_id, seen))
        self.kept_awake = kept
        return due

    def _seen(self, satellite_id: UUID) -> _Known | None:
        count, lease = self._book.streams_on(satellite_id), self._book.taken_at(satellite_id)
        if not count or lease is None:
            return None  # it is about to be given up
        found = self.look(satellite_id) if self.look is not None else ()
        return _Known(lease, count, found, clock.now())

    def _is_news(self, satellite_id: UUID, seen: _Known) -> bool:
        known = self._known.get(satellite_id)
        if known is None or known.lease != seen.lease:
            return True
        same = (known.count, known.open) == (seen.count, seen.open)
        return not same and seen.at - known.at > self._rarely


def _with(kept: KeptAwake, seen: _Known) -> KeptAwake:
    since = [each.since for each in seen.open[:1]]  # the oldest come first
    if kept.oldest is not None:
        since.append(kept.oldest)
    return KeptAwake(kept.satellites + 1, kept.streams + seen.count, min(since) if since else None)


def _group(each: Open, now: float) -> Group:
    return Group(each.caller, each.method, each.peer, each.number, max(0.0, now - each.since))
