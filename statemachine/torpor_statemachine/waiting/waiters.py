"""Requests that wait for a satellite: one waiter a satellite serves them all.

It reads the row, does what `policy.next_step` says, and waits for a change: told by this node, by
LISTEN, or found by polling. However many requests wait, the queries are one waiter's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from copy import copy
from dataclasses import replace
from uuid import UUID

from torpor_provisioner.errors import TorporError
from torpor_statemachine import clock
from torpor_statemachine.errors import HoldExpired, LifecycleBroke, UnknownSatellite, recall
from torpor_statemachine.gate import Admitted, Outlook
from torpor_statemachine.lifecycle.policy import (
    ClaimWake,
    Fail,
    Mark,
    RequestWake,
    Step,
    Wait,
    mark,
    next_step,
)
from torpor_statemachine.lifecycle.satellite import Satellite
from torpor_statemachine.lifecycle.states import WakeKind
from torpor_statemachine.node.lease_book import LeaseBook
from torpor_statemachine.postgres.pool import DatabaseAway, DatabaseBusy
from torpor_statemachine.store.holds import Group
from torpor_statemachine.store.leases import Taken
from torpor_statemachine.waiting.notifier import Notifier

logger = logging.getLogger(__name__)

LONGEST_PAUSE = 5.0  # seconds; between two tries for a row that another session has locked

Take = Callable[[UUID], Awaitable[Taken | None]]
Wake = Callable[[Satellite, str], Awaitable[bool]]
MayWake = Callable[[Satellite], Awaitable[None]]  # raises what stands against it
RequestWakeOf = Callable[[Satellite], Awaitable[bool]]
Prove = Callable[[Satellite], Awaitable[bool]]


class _Waiter:
    """Those who wait for one satellite, each with the moment until which it will."""

    def __init__(self, satellite_id: UUID, actor: str, began: float) -> None:
        self.satellite_id = satellite_id
        self.actor = actor  # of the first request, whose doing the wake is
        self.began = began
        self.answered_at = began  # when the database last did
        self.waiting: dict[asyncio.Future[Admitted], float] = {}
        self.obstacle = "it was not looked at yet"
        self.away: DatabaseAway | None = None
        self.in_the_way = 0  # times in a row that somebody else had the row locked
        self.mark: Mark | None = None
        self.looks = 0
        self.seen: Satellite | None = None  # as the database told of it last

    def __repr__(self) -> str:
        return f"<Waiter for {self.satellite_id}: {len(self.waiting)} wait, {self.obstacle}>"

    def join(self, budget: float) -> asyncio.Future[Admitted]:
        future: asyncio.Future[Admitted] = asyncio.get_running_loop().create_future()
        self.waiting[future] = clock.now() + budget
        return future

    def patience(self) -> float:
        """How long the most patient one waits yet, in seconds."""
        return max(self.waiting.values(), default=0.0) - clock.now()

    def expired(self) -> TorporError:
        if self.away is not None:
            return type(self.away)(self.away.detail)
        return HoldExpired(f"{self.obstacle} for {clock.now() - self.began:.1f} s")


class Waiters:
    """Everyone who waits on this node, though no longer than `database_budget` for a database that
    does not answer.

    `take` takes a lease or tells how the satellite is; `wake` claims a wake and carries it out;
    `request_wake` leaves word with who puts it to sleep; `may_wake` raises what stands against
    either; `prove` compares a satellite with its machine, and says whether that could be done.
    """

    def __init__(
        self,
        book: LeaseBook,
        notifier: Notifier,
        poll: float,
        database_budget: float,
        *,
        take: Take,
        wake: Wake,
        request_wake: RequestWakeOf,
        prove: Prove,
        may_wake: MayWake,
    ) -> None:
        self._may_wake = may_wake
        self._book = book
        self._notifier = notifier
        self._poll = poll
        self._database_budget = database_budget
        self._take = take
        self._wake = wake
        self._request_wake = request_wake
        self._prove = prove
        self._waiters: dict[UUID, _Waiter] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<Waiters for {len(self._waiters)} satellites>"

    async def admit(self, satellite_id: UUID, actor: str, budget: float) -> Admitted:
        """See `gate.Gate.admit`."""
        admitted = self._book.enter(satellite_id)
        if admitted is not None:
            return admitted
        waiter = self._waiter(satellite_id, actor)
        future = waiter.join(budget)
        try:
            async with asyncio.timeout(budget):
                return await future
        except TimeoutError:
            self._give_back(satellite_id, future)
            raise waiter.expired() from waiter.away
        except asyncio.CancelledError:
            self._give_back(satellite_id, future)
            raise
        finally:
            waiter.waiting.pop(future, None)

    def outlook(self, satellite_id: UUID) -> Outlook | None:
        """See `gate.Gate.outlook`."""
        waiter = self._waiters.get(satellite_id)
        if waiter is None or waiter.seen is None:
            return None
        seen = waiter.seen
        return Outlook(
            seen.state,
            seen.sleep_kind,
            seen.usual_wake.total_seconds() if seen.usual_wake is not None else None,
            _described(seen.obstacle) if seen.obstacle else "",
        )

    def held(self) -> list[Group]:
        """Those who wait here, by satellite; who waits the longest is first."""
        now = clock.now()
        waiters = sorted(self._waiters.values(), key=lambda each: each.began)
        return [
            Group(each.satellite_id, each.actor, len(each.waiting), now - each.began)
            for each in waiters
            if each.waiting
        ]

    def _give_back(self, satellite_id: UUID, future: asyncio.Future[Admitted]) -> None:
        """It was let in at the very moment at which it stopped waiting."""
        if future.done() and not future.cancelled() and future.exception() is None:
            self._book.leave(satellite_id)

    def _waiter(self, satellite_id: UUID, actor: str) -> _Waiter:
        waiter = self._waiters.get(satellite_id)
        if waiter is None:
            waiter = _Waiter(satellite_id, actor, clock.now())
            self._waiters[satellite_id] = waiter
            task = asyncio.create_task(self._serve(waiter), name=f"waiter {satellite_id}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return waiter

    async def _serve(self, waiter: _Waiter) -> None:
        error: TorporError = LifecycleBroke("")
        try:
            await self._until_decided(waiter)
        except TorporError as failure:
            error = failure
        except Exception:
            logger.exception("%r failed", waiter)
        finally:
            # Who comes from here on begins anew; nobody can have joined since the last step
            del self._waiters[waiter.satellite_id]
            for future in list(waiter.waiting):
                if not future.done():
                    future.set_exception(copy(error))  # each is raised with a traceback of its own

    async def _until_decided(self, waiter: _Waiter) -> None:
        with self._notifier.subscribe(waiter.satellite_id) as subscription:
            while True:
                subscription.clear()
                try:
                    pause = await self._step(waiter)
                    waiter.away = None
                except DatabaseAway as error:
                    waiter.away = error
                    if self._left(waiter) <= 0:
                        raise
                    pause = min(self._pause(waiter), self._left(waiter))
                if pause is None or not waiter.waiting:
                    return
                await subscription.wait(clock.jittered(pause))

    def _left(self, waiter: _Waiter) -> float:
        return waiter.answered_at + self._database_budget - clock.now()

    async def _look(self, waiter: _Waiter) -> Taken | None:
        try:
            async with asyncio.timeout(self._left(waiter)):
                taken = await self._take(waiter.satellite_id)
        except TimeoutError:
            raise DatabaseAway(f"for {self._database_budget:g} s") from None
        waiter.answered_at = clock.now()
        return taken

    def _pause(self, waiter: _Waiter) -> float:
        """Longer and longer for a locked row: each try keeps a connection from others."""
        waiter.in_the_way += isinstance(waiter.away, DatabaseBusy)
        pause: float = self._poll * 2**waiter.in_the_way
        return min(pause, max(self._poll, LONGEST_PAUSE))

    async def _step(self, waiter: _Waiter) -> float | None:
        """How long to wait for a change, in seconds; None when everyone was let in."""
        taken = await self._look(waiter)
        if taken is None:
            raise UnknownSatellite
        waiter.looks += 1
        satellite = waiter.seen = taken.satellite
        if taken.leased and not taken.proved:
            waiter.obstacle = f"{satellite.full_name}: a failover may have lost where it runs"
            return 0.0 if await self._prove(satellite) else self._pause(waiter)
        if taken.leased:
            self._let_in(waiter, satellite)
            return None
        if waiter.mark is None:
            waiter.mark = mark(satellite)
        return await self._do(
            next_step(satellite, waiter.mark, waiter.patience()), waiter, satellite
        )

    async def _do(self, step: Step, waiter: _Waiter, satellite: Satellite) -> float:
        waiter.obstacle = f"{satellite.full_name} is {satellite.state}"
        match step:
            case ClaimWake():
                await self._may_wake(satellite)
                await self._wake(satellite, waiter.actor)
            case RequestWake():
                await self._may_wake(satellite)
                await self._request_wake(satellite)
            case Wait(why, longest):
                waiter.obstacle = f"{satellite.full_name}: {why}"
                return min(self._poll, longest) if longest is not None else self._poll
            case Fail(error):
                raise error
        return self._poll

    def _let_in(self, waiter: _Waiter, satellite: Satellite) -> None:
        hot = waiter.looks == 1
        kind = WakeKind.HOT if hot else satellite.wake_kind or WakeKind.STARTED
        for future in waiter.waiting:
            if future.done():
                continue
            admitted = self._book.enter(satellite.id)
            if admitted is None:  # the lease is so old already that it cannot be trusted
                future.set_exception(DatabaseAway("this node's lease has run out"))
                continue
            future.set_result(replace(admitted, wake_kind=kind))

    async def aclose(self) -> None:
        """Everyone who still waits is refused."""
        for waiter in self._waiters.values():
            for future in waiter.waiting:
                if not future.done():
                    future.set_exception(waiter.expired())
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _described(obstacle: str) -> str:
    error = recall(obstacle)
    return f"{error.code} {error.message}"
