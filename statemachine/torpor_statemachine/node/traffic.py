"""Streams and holds of this node, counted in memory and told to the database every few seconds.

A stream costs an addition here and no query. What is being told stays as it is, under its number,
until its answer has come; what is counted meanwhile goes into the next part. A node that is killed
takes with it what it has not told.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from torpor_statemachine import clock
from torpor_statemachine.postgres.pool import DatabaseAway
from torpor_statemachine.store.usage import Seen, Usage

logger = logging.getLogger(__name__)

PART = 1_000  # satellites in a statement


class Traffic:
    """What node `node_id` has seen."""

    def __init__(self, usage: Usage, node_id: UUID, every: float) -> None:
        self._usage = usage
        self._node_id = node_id
        self._every = every
        self._streams: defaultdict[UUID, int] = defaultdict(int)
        self._held: defaultdict[UUID, float] = defaultdict(float)
        self._part = 0
        self._part_sent: dict[UUID, Seen] = {}

    def __repr__(self) -> str:
        return f"<Traffic of {len(self._streams)} satellites to tell of>"

    def came(self, satellite_id: UUID) -> None:
        """A stream was let in."""
        self._streams[satellite_id] += 1

    @contextmanager
    def holding(self, satellite_id: UUID) -> Iterator[None]:
        """Around the wait of a request, which is let in at its end unless that raises."""
        since = clock.now()
        try:
            yield
        finally:
            self._held[satellite_id] += clock.now() - since
        self._streams[satellite_id] += 1

    async def flush_for_ever(self) -> None:
        while True:
            await asyncio.sleep(clock.jittered(self._every))
            try:
                await self.flush()
            except DatabaseAway:
                continue  # told by the heartbeat
            except Exception:
                logger.exception("what was counted could not be told")

    async def flush(self) -> None:
        """Everything that was counted."""
        while self._next():
            if not await self._usage.add(self._node_id, self._part, self._part_sent):
                return  # this node's term has ended: when it has begun another
            self._part_sent = {}

    def _next(self) -> bool:
        """Whether there is a part to tell: the last one that was not answered, or another."""
        if not self._part_sent:
            those = set(itertools.islice(self._streams.keys() | self._held.keys(), PART))
            self._part_sent = {
                each: Seen(self._streams.pop(each, 0), self._held.pop(each, 0.0)) for each in those
            }
            self._part += bool(those)
        return bool(self._part_sent)
