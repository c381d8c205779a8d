"""The one way to Postgres: a small pool, with failures that carry their code (see `errors`).

No statement waits for long: neither for a connection, nor for another session's lock, nor for a
server that is gone. Nothing of a transaction is left to the client: what takes locks is one
statement, so that a process which vanishes between two leaves none behind.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self, TypeAlias

import asyncpg

from torpor_provisioner.errors import TorporError
from torpor_statemachine import clock
from torpor_statemachine.postgres import session
from torpor_statemachine.postgres.errors import (
    CONFLICTS,
    BadDatabaseUrl,
    DatabaseAway,
    DatabaseBusy,
    NoConnectionFree,
    OldPostgres,
    PoolerBetween,
    coded_errors,
    naming,
    shown,
)
from torpor_statemachine.postgres.width import Width

__all__ = [
    "BadDatabaseUrl",
    "Connection",
    "Database",
    "DatabaseAway",
    "DatabaseBusy",
    "NoConnectionFree",
    "OldPostgres",
    "Pool",
    "PoolerBetween",
    "Record",
    "coded_errors",
    "connect",
    "shown",
]

logger = logging.getLogger(__name__)

OLDEST = 140_000  # server_version_num of Postgres 14
CONNECTIONS = 5  # of a node's pool; the hot path makes no query, so few are plenty
PATIENCE = 0.02  # seconds that a statement waits before a connection more is opened for it
CALM = 10.0  # seconds without such a wait, after which one connection less is used
UNUSED = 60.0  # seconds after which a connection is closed
TURN = 5.0  # seconds; for a connection of the pool
VITAL = 1.5  # seconds; a heartbeat must be over, and be tried again, while the last one counts
TRIES = 3  # of a statement that Postgres gave up because of another
TOLD_EVERY = 10.0  # seconds between two log lines of a kind

Connection: TypeAlias = "asyncpg.Connection[Any] | asyncpg.pool.PoolConnectionProxy[Any]"
Record: TypeAlias = "asyncpg.Record"


class Pool:
    """Some connections to one database. `queries` counts statements, `waits` those that gave up
    because of a "lock" or for want of a "connection"."""

    def __init__(
        self, url: str, *, pooled: bool, connections: int, statement: float, lock: float
    ) -> None:
        self.url = url
        self.queries = 0
        self.waits: Counter[str] = Counter(lock=0, connection=0)
        self._connections = connections
        self._options = session.options(pooled=pooled, statement=statement, lock=lock)
        self._width = Width(connections, patience=PATIENCE, calm=CALM)
        self._logged: dict[str, float] = {}
        self._pool: asyncpg.Pool[Any] | None = None

    async def open(self) -> None:
        """Begin; connections are made when they are needed."""
        with naming(self.url), coded_errors():
            self._pool = await asyncpg.create_pool(
                self.url,
                min_size=0,  # asyncpg restores a floor with a traceback a second
                max_size=self._connections,
                max_inactive_connection_lifetime=UNUSED,
                init=session.keep_alive,
                reset=_nothing,
                **self._options,
            )

    async def aclose(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.terminate()  # every statement has its own end; there is nothing to wait for
            await pool.close()

    async def fetch(self, sql: str, *values: Any) -> list[Record]:
        rows: list[Record] = await self._ask("fetch", sql, values)
        return rows

    async def fetchrow(self, sql: str, *values: Any) -> Record | None:
        row: Record | None = await self._ask("fetchrow", sql, values)
        return row

    async def fetchval(self, sql: str, *values: Any) -> Any:
        return await self._ask("fetchval", sql, values)

    async def execute(self, sql: str, *values: Any) -> str:
        return str(await self._ask("execute", sql, values))

    async def _ask(self, how: str, sql: str, values: tuple[Any, ...]) -> Any:
        self.queries += 1
        try:
            with coded_errors():
                for _ in range(TRIES - 1):
                    try:
                        return await self._ask_once(how, sql, values)
                    except CONFLICTS:  # it had no effect
                        await asyncio.sleep(clock.jittered(0.02))
                return await self._ask_once(how, sql, values)
        except DatabaseBusy as error:
            self._waited("lock", str(error))
            raise

    async def _ask_once(self, how: str, sql: str, values: tuple[Any, ...]) -> Any:
        async with self.borrowed() as connection:
            return await getattr(connection, how)(sql, *values)

    @asynccontextmanager
    async def borrowed(self) -> AsyncIterator[Connection]:
        """A connection of the pool's, which comes back within `TURN` seconds or not at all.

        Raises:
            NoConnectionFree: others had them all for so long.
        """
        await self._turn()
        try:
            async with self._opened().acquire(timeout=session.CONNECT_TIMEOUT) as connection:
                try:
                    yield connection
                except TimeoutError:
                    connection.terminate()  # nor would it answer to a cancel
                    raise
        finally:
            self._width.give_back()

    async def _turn(self) -> None:
        try:
            async with asyncio.timeout(TURN):
                await self._width.take()
        except TimeoutError:
            error = NoConnectionFree(f"{self._connections}, for {TURN:g} s")
            self._waited("connection", str(error))
            raise error from None

    def _waited(self, what: str, why: str) -> None:
        self.waits[what] += 1
        now = clock.now()
        if now - self._logged.get(what, -TOLD_EVERY) >= TOLD_EVERY:
            self._logged[what] = now
            logger.warning("%s (%d times since the start)", why, self.waits[what])

    def _opened(self) -> asyncpg.Pool[Any]:
        if self._pool is None:
            raise DatabaseAway("it is closed")
        return self._pool


class Database(Pool):
    """A node's way to its database.

    `vital` is a connection of its own for the node's heartbeat, which no crowd of other statements
    keeps waiting. With `poll_only` nothing outlives its transaction on the server (no named
    statements, no LISTEN, no settings), as PgBouncer in transaction mode demands.
    """

    def __init__(
        self, url: str, *, poll_only: bool = False, connections: int = CONNECTIONS
    ) -> None:
        super().__init__(
            url,
            pooled=poll_only,
            connections=connections,
            statement=session.STATEMENT,
            lock=session.LOCK,
        )
        self.poll_only = poll_only
        self.pooled = False  # known once it is open: a pooler stands in between
        self.vital = Pool(url, pooled=poll_only, connections=1, statement=VITAL, lock=VITAL / 2)

    def __repr__(self) -> str:
        return f"<Database {shown(self.url)}, {self.queries} queries>"

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def open(self) -> None:
        """Connect.

        Raises:
            BadDatabaseUrl, OldPostgres, PoolerBetween, DatabaseAway: with what to do about it.
        """
        try:
            await super().open()
            await self.vital.open()
            with naming(self.url), coded_errors():
                await self._look()
        except TorporError:
            await self.aclose()
            raise

    async def _look(self) -> None:
        async with self.borrowed() as connection:
            self.queries += 1
            version = await connection.fetchval("select current_setting('server_version_num')::int")
            pid = await connection.fetchval("select pg_backend_pid()")
            self.pooled = pid != connection.get_server_pid()  # a pooler tells one of its own
        if version < OLDEST:
            raise OldPostgres(f"it is {version // 10_000}.{version % 10_000}")
        if self.pooled and not self.poll_only:
            raise PoolerBetween

    async def aclose(self) -> None:
        await self.vital.aclose()
        await super().aclose()

    async def connect(self) -> asyncpg.Connection[Any]:
        """A connection outside the pool, which the caller closes; for LISTEN."""
        with coded_errors():
            return await session.connect(self.url, pooled=self.poll_only)


async def connect(url: str, timeout: float) -> asyncpg.Connection[Any]:  # noqa: ASYNC109 - of each statement
    """One connection that fits every server and pooler, which the caller closes.

    Raises:
        BadDatabaseUrl, DatabaseAway: with what to do about it.
    """
    with naming(url), coded_errors():
        return await session.connect(url, pooled=True, statement=timeout)


async def _nothing(_: object) -> None:
    """Instead of asyncpg's reset, a statement more for each of ours: no statement here leaves
    anything behind in its session."""
