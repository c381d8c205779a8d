"""Asks the database about callers and satellites, many asks in one query, over one connection.

The connection also listens for changes of access, so every query probes the listener; it is none
of the pool's, so no crowd of strangers can keep the lifecycle from its own queries. What is asked
for while a query runs goes into the next one: the same ask twice is one look-up, and the load
stays one query at a time however many ask.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from weakref import WeakValueDictionary

from torpor_router.access.errors import TooManyLookups
from torpor_router.access.revocation_cache import RevocationCache
from torpor_router.access.uses import Uses
from torpor_router.access.verdict import FACTS, Verdict, arguments, judge
from torpor_router.access.verdict_cache import ROUND, VerdictCache
from torpor_router.routing import Ask
from torpor_statemachine.postgres.pool import Connection, Database, DatabaseAway, coded_errors

log = logging.getLogger(__name__)

CHANNEL = "torpor_access"  # as in migrations/
BATCH = 500  # asks in one query
QUERY_TIMEOUT = 1.0  # seconds; with ROUND, less than what is believed without confirmation
RETRY_PAUSE = 0.25  # seconds between two attempts to connect
MOST_WAITING = 10_000  # different asks
AT_A_TIME = 8  # different asks of one peer; its others wait behind them, and in nobody else's way


class _Waiting:
    """An ask that is being looked up, and how many wait for it."""

    __slots__ = ("answer", "count")

    def __init__(self) -> None:
        self.answer: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        self.count = 0


class Lookups:
    """Keeps `cache` and `refused` true from `start` to `aclose`."""

    def __init__(
        self,
        database: Database,
        cache: VerdictCache,
        refused: RevocationCache,
        clock: Callable[[], float],
    ) -> None:
        self._database = database
        self._cache = cache
        self._refused = refused
        self._uses = Uses()
        self._clock = clock
        self._waiting: dict[Ask, _Waiting] = {}
        self._turns: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._something = asyncio.Event()  # to do: somebody waits, or access has changed
        self._changed = False
        self._next_round = 0.0
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Lookups {len(self._waiting)} waiting, {self._cache}>"

    def start(self) -> None:
        self._task = asyncio.create_task(self._keep_asking(), name="access look-ups")

    async def aclose(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def verdict(self, ask: Ask, peer: str, patience: float) -> Verdict:
        """What is remembered, or else what the database says.

        Raises:
            DatabaseAway: it did not answer within `patience` seconds.
            TooManyLookups: others ask more than it can answer.
        """
        if (known := self._cache.any(ask, self._clock())) is not None:
            return known
        try:
            async with asyncio.timeout(patience):
                if ask in self._waiting:
                    return await self._answer_to(ask)
                async with self._turn_of(peer):
                    # what came before in the queue may have been the same
                    return self._cache.any(ask, self._clock()) or await self._answer_to(ask)
        except TimeoutError:
            failed = DatabaseAway if self._cache.away else TooManyLookups
            raise failed(f"for {patience:g} s") from None

    def _turn_of(self, peer: str) -> asyncio.Semaphore:
        turn = self._turns.get(peer)
        if turn is None:
            turn = self._turns[peer] = asyncio.Semaphore(AT_A_TIME)
        return turn

    async def _answer_to(self, ask: Ask) -> Verdict:
        waiting = self._waiting.get(ask)
        if waiting is None:
            if len(self._waiting) >= MOST_WAITING:
                raise TooManyLookups(f"{MOST_WAITING} wait")
            waiting = self._waiting[ask] = _Waiting()
        self._something.set()
        waiting.count += 1
        try:
            return await asyncio.shield(waiting.answer)
        finally:
            waiting.count -= 1
            if not waiting.count and self._waiting.get(ask) is waiting:
                del self._waiting[ask]

    # --- the task

    async def _keep_asking(self) -> None:
        while True:
            try:
                async with self._connected() as connection:
                    await self._ask_on(connection)
            except (DatabaseAway, TimeoutError) as error:
                self._lost(error)
                await asyncio.sleep(RETRY_PAUSE)
            except Exception as error:
                log.exception("looking up callers failed")
                self._lost(error)
                self._fail(error)  # not to be asked again: it may be the ask that does it
                await asyncio.sleep(RETRY_PAUSE)

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Connection]:
        connection = await self._database.connect()
        try:
            if not self._database.poll_only:
                with coded_errors():
                    await connection.add_listener(CHANNEL, self._on_notify)
            self._changed = True  # perhaps: nobody listened
            self._refused.reconnected()
            yield connection
        finally:
            connection.terminate()

    async def _ask_on(self, connection: Connection) -> None:
        while True:
            now = self._clock()
            asks: list[Ask] = []
            if self._changed or self._cache.away or now >= self._next_round:
                asks += self._due(now)  # first: those in use must not wait for a crowd of new ones
                await self._refresh(connection)
            asks += self._waiting
            if asks or self._cache.away:
                await self._ask(connection, list(dict.fromkeys(asks)))
                self._found()
                await self._uses.note(connection, self._clock())
            await self._until_something(self._next_round - self._clock())

    def _due(self, now: float) -> list[Ask]:
        """A round: what has to be confirmed now."""
        if self._changed:
            self._changed = False
            self._cache.forget_unused()
        self._next_round = now + ROUND
        return list(self._cache.in_use(now))

    async def _refresh(self, connection: Connection) -> None:
        if not self._refused.watched:
            self._refused.forget()
            return
        with coded_errors():
            async with asyncio.timeout(QUERY_TIMEOUT):
                await self._refused.refresh(connection)

    async def _ask(self, connection: Connection, asks: Sequence[Ask]) -> None:
        for start in range(0, max(1, len(asks)), BATCH):
            batch = asks[start : start + BATCH]
            put = self._clock()
            with coded_errors():
                async with asyncio.timeout(QUERY_TIMEOUT):
                    rows = await connection.fetch(FACTS, *arguments(batch))
            for ask, facts in zip(batch, rows, strict=True):
                self._answer(ask, judge(ask, facts, time.time()), put)

    def _answer(self, ask: Ask, verdict: Verdict, put: float) -> None:
        self._cache.keep(ask, verdict, put, used=ask in self._waiting)
        if verdict.caller is not None:
            self._uses.add(verdict.caller.token_id)
        self._resolve(ask, verdict)

    def _resolve(self, ask: Ask, verdict: Verdict) -> None:
        waiting = self._waiting.pop(ask, None)
        if waiting is not None and not waiting.answer.done():
            waiting.answer.set_result(verdict)

    async def _until_something(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, seconds)):
                await self._something.wait()
        self._something.clear()

    # --- the database goes and comes

    def _on_notify(self, *_: object) -> None:
        self._changed = True
        self._something.set()

    def _lost(self, error: Exception) -> None:
        if not self._cache.away:
            log.warning("the database does not answer; callers known here stay so: %s", error)
        self._cache.away = True
        for ask in list(self._waiting):
            if (verdict := self._cache.good(ask, self._clock())) is not None:
                self._resolve(ask, verdict)

    def _fail(self, error: Exception) -> None:
        for waiting in self._waiting.values():
            if not waiting.answer.done():
                waiting.answer.set_exception(error)
        self._waiting.clear()

    def _found(self) -> None:
        if self._cache.away:
            log.info("the database answers again")
        self._cache.away = False
