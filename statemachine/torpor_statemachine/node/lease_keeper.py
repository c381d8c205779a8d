"""The leases of this node, in the book and in the database, and how the two are kept the same.

The book runs ahead of the database in one direction only: a lease is written down after it was
given, and crossed out before it is given up. Whatever else comes between (a lost answer, a cut
connection, a term that ended) is found and mended at the next heartbeat.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from uuid import UUID

from torpor_statemachine import clock
from torpor_statemachine.errors import UnknownSatellite
from torpor_statemachine.lifecycle.departure import Departure
from torpor_statemachine.lifecycle.satellite import Satellite
from torpor_statemachine.lifecycle.states import State
from torpor_statemachine.node.heartbeat import Node
from torpor_statemachine.node.lease_book import LeaseBook
from torpor_statemachine.postgres.pool import DatabaseAway
from torpor_statemachine.store.leases import Leases, Taken
from torpor_statemachine.store.nodes import NodeStatus

logger = logging.getLogger(__name__)

RETAKE = 0.5  # seconds; between two tries to have a lease again under open streams


class LeaseKeeper:
    """What `node` holds. `request_wake` leaves word that a satellite is wanted which is being put
    to sleep."""

    def __init__(
        self,
        leases: Leases,
        node: Node,
        linger: float,
        request_wake: Callable[[Satellite], Awaitable[bool]],
    ) -> None:
        self._request_wake = request_wake
        self._leases = leases
        self._node = node
        self._linger = linger
        self.book = LeaseBook(node.leases_hold, self._give_up, linger)
        self._to_drop: set[UUID] = set()
        self._dropping: asyncio.Task[None] | None = None
        self._retaking: dict[UUID, asyncio.Task[None]] = {}
        self._taking: dict[UUID, int] = {}
        self._sleepers: list[Callable[[Departure], None]] = []
        self._looking: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<LeaseKeeper {self.book!r}>"

    async def take(self, satellite_id: UUID) -> Taken | None:
        """Take a lease if the satellite runs, and tell how it is either way."""
        await self.given_up(satellite_id)
        self._taking[satellite_id] = self._taking.get(satellite_id, 0) + 1
        try:
            term = self._node.term
            known = self.book.newest(satellite_id)
            taken = await self._leases.take(satellite_id, term)
            if taken is None or not taken.leased:
                return taken
            if term != self._node.term:  # it fell with its term, before its answer came
                return replace(taken, leased=False)
            assert taken.satellite.address is not None
            before = self.book.newest(satellite_id)
            if before == known and known is not None:  # nothing newer was heard of meanwhile
                self.book.went_back(satellite_id, taken.satellite.epoch)
            self.book.take(
                *(satellite_id, taken.satellite.address, taken.satellite.epoch),
                proved=taken.proved,
            )
            if before is not None and before < taken.satellite.epoch:
                self._look_back(satellite_id, before)  # it has slept, and nobody told of it
            return taken
        finally:
            self._taking[satellite_id] -= 1
            if not self._taking[satellite_id]:
                del self._taking[satellite_id]

    async def given_up(self, satellite_id: UUID) -> None:
        """Returns when no lease on it is being given up any more."""
        while satellite_id in self._to_drop and self._dropping is not None:
            await asyncio.wait((self._dropping,))

    # --- Satellites that have left running

    def on_sleep(self, callback: Callable[[Departure], None]) -> None:
        self._sleepers.append(callback)

    def left(self, departure: Departure) -> None:
        """A satellite has left running: end the lease, and tell the door."""
        if not self.book.streams_on(departure.satellite_id):
            departure = replace(departure, why=None)
        self.book.end(departure.satellite_id, departure.epoch)
        for callback in self._sleepers:
            callback(departure)

    def heard(self, satellite_id: UUID, epoch: int) -> None:
        """A transition was made, here or elsewhere: one out of running ends the lease.

        Each of those raises the epoch. What is heard of the lease's own epoch is late news of how
        the satellite came to run.
        """
        newest = self.book.newest(satellite_id)
        if newest is not None and epoch <= newest:
            return
        if newest is not None and self.book.streams_on(satellite_id):
            self.book.end(satellite_id, epoch)
            self._look_back(satellite_id, newest)
        else:
            self.left(Departure(satellite_id, epoch))

    def _look_back(self, satellite_id: UUID, since: int) -> None:
        task = asyncio.create_task(
            self._looked_back(satellite_id, since), name=f"why {satellite_id} has left running"
        )
        self._looking.add(task)
        task.add_done_callback(self._looking.discard)

    async def _looked_back(self, satellite_id: UUID, since: int) -> None:
        while True:
            try:
                await self._tell_of_departure(satellite_id, since)
            except DatabaseAway:
                await asyncio.sleep(clock.jittered(RETAKE))
            else:
                return

    async def _tell_of_departure(self, satellite_id: UUID, since: int) -> bool:
        """Whether it has left running after the epoch `since`; then the door knows why."""
        departure = await self._leases.departure(satellite_id, since)
        if departure is not None:
            self.left(departure)
        return departure is not None

    # --- Leases that differ

    def compare(self, status: NodeStatus, asked_at: float) -> None:
        """Mend what differs from the database, as it was when the heartbeat asked.

        A lease that only the book knows may have ended with its satellite's sleep, or be one that
        a failover lost, or a database restored from a backup: under open streams it is taken
        again, or they would count for nothing.
        """
        for satellite_id in self.book.missing_from(status.leases, asked_at):
            self.book.lose(satellite_id)
            if self.book.streams_on(satellite_id):
                self._retake(satellite_id)
        forgotten = status.leases - self.book.held() - self._to_drop - self._taking.keys()
        for satellite_id in forgotten:
            if self.book.streams_on(satellite_id):
                self._retake(satellite_id)
            else:
                self._drop((satellite_id,))

    def renamed(self) -> None:
        """The term has ended, and every lease with it: take anew those with open streams."""
        for satellite_id in self.book.unpin():
            self._retake(satellite_id)

    def _retake(self, satellite_id: UUID) -> None:
        if satellite_id not in self._retaking:
            task = asyncio.create_task(
                self._taken_anew(satellite_id), name=f"retake {satellite_id}"
            )
            self._retaking[satellite_id] = task
            task.add_done_callback(lambda _: self._retaking.pop(satellite_id))

    async def _taken_anew(self, satellite_id: UUID) -> None:
        """Until the streams have a lease again, or it is known how the satellite left running."""
        since = self.book.newest(satellite_id) or 0
        while self.book.streams_on(satellite_id) and self.book.epoch(satellite_id) is None:
            try:
                taken = await self.take(satellite_id)
                if taken is None:
                    self.left(Departure(satellite_id, since + 1, UnknownSatellite()))
                    return
                if taken.leased:
                    return
                if await self._tell_of_departure(satellite_id, since):
                    return
                # It has not left running since these streams came: what the database says is of
                # before, and a failover has lost how it came to run
                since = min(since, taken.satellite.epoch)
                self.book.went_back(satellite_id, since)
                if taken.satellite.state is State.SLEEPING:
                    await self._request_wake(taken.satellite)
            except DatabaseAway:
                logger.warning("streams are open on %s without a lease", satellite_id)
            await asyncio.sleep(clock.jittered(RETAKE))

    def _give_up(self, satellite_id: UUID) -> None:
        if satellite_id not in self._taking:  # else what is being taken might be given up
            self._drop((satellite_id,))

    def _drop(self, satellite_ids: Iterable[UUID]) -> None:
        self._to_drop.update(satellite_ids)
        if self._dropping is None:
            self._dropping = asyncio.create_task(self._drop_all(), name="give leases up")

    async def _drop_all(self) -> None:
        """All that have come together in one transaction; what fails is mended by `compare`."""
        try:
            while self._to_drop:
                now = set(self._to_drop)
                try:
                    await self._leases.drop(now, self._linger)
                except DatabaseAway:
                    logger.info("%d leases are given up at a later heartbeat", len(now))
                finally:
                    self._to_drop -= now
        finally:
            self._dropping = None

    async def aclose(self) -> None:
        self.book.clear()
        tasks = [*self._looking, *self._retaking.values()]
        if self._dropping is not None:
            tasks.append(self._dropping)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
