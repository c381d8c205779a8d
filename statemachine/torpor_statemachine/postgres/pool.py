"""The one way to Postgres: a small pool, with failures that carry their code.

A statement that fails because the server is away raises `DatabaseAway`, whatever the way in which
it was away: refused, restarting, full, silent, or gone in mid-statement. Whether a statement took
effect is then unknown, which is why every write of the lifecycle may be repeated.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Self, TypeAlias
from urllib.parse import urlsplit

import asyncpg

from torpor_provisioner.errors import Status, TorporError

OLDEST = 140_000  # server_version_num of Postgres 14
CONNECTIONS = 8  # a node; the hot path makes no query, so few are plenty
CONNECT_TIMEOUT = 5.0  # seconds
STATEMENT_TIMEOUT = 15.0  # seconds; every statement of ours takes milliseconds

Connection: TypeAlias = "asyncpg.Connection[Any] | asyncpg.pool.PoolConnectionProxy[Any]"
Record: TypeAlias = "asyncpg.Record"


class BadDatabaseUrl(TorporError):
    code = "TPR-5203"
    status = Status.INVALID_ARGUMENT
    cause = "The database's URL cannot be used"
    remedy = "Correct TORPOR_DATABASE_URL: postgresql://USER:PASSWORD@HOST:PORT/DATABASE"


class OldPostgres(TorporError):
    code = "TPR-5204"
    status = Status.FAILED_PRECONDITION
    cause = "The database server is older than Postgres 14"
    remedy = "Upgrade it, or leave TORPOR_DATABASE_URL out to use the embedded one"


class DatabaseAway(TorporError):
    code = "TPR-5205"
    status = Status.UNAVAILABLE
    cause = "The router's database does not answer"
    remedy = "Retry in a few seconds; builds that run already are not affected"


_AWAY = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # shutting down, starting up, terminated by an operator
    asyncpg.InsufficientResourcesError,  # too many connections, disk full
    asyncpg.ReadOnlySQLTransactionError,  # a standby, in the middle of a failover
    asyncpg.InternalClientError,
)
_WRONG = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.ClientConfigurationError,
    asyncpg.InsufficientPrivilegeError,
)


@contextmanager
def told_by_code() -> Iterator[None]:
    """Turn what asyncpg raises when the server is away into `DatabaseAway`."""
    try:
        yield
    except _AWAY as error:
        _end_if_cancelled(error)
        raise DatabaseAway(type(error).__name__) from error
    except asyncpg.InterfaceError as error:
        if isinstance(error, asyncpg.ClientConfigurationError) or not _is_lost(error):
            raise
        _end_if_cancelled(error)
        raise DatabaseAway("the connection was lost") from error


def _end_if_cancelled(error: Exception) -> None:
    """A cancelled task still rolls back and returns its connection. Where that fails, asyncpg's
    error takes the place of the cancellation, and who was to end would only try again."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError from error


def _is_lost(error: asyncpg.InterfaceError) -> bool:
    # asyncpg has no class for these: a connection that closed under a statement, a pool that does
    return any(word in str(error) for word in ("closed", "closing", "released", "terminated"))


class Database:
    """A pool of connections to one database.

    With `poll_only` nothing outlives its transaction on the server (no named statements, no
    LISTEN), as PgBouncer in transaction mode demands. `queries` counts statements.
    """

    def __init__(
        self, url: str, *, poll_only: bool = False, connections: int = CONNECTIONS
    ) -> None:
        self.url = url
        self.poll_only = poll_only
        self.queries = 0
        self._connections = connections
        self._pool: asyncpg.Pool[Any] | None = None

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
            BadDatabaseUrl, OldPostgres, DatabaseAway: with what to do about it.
        """
        try:
            with _naming(self.url), told_by_code():
                self._pool = await asyncpg.create_pool(
                    self.url,
                    min_size=0,  # asyncpg restores a floor with a traceback a second
                    max_size=self._connections,
                    timeout=CONNECT_TIMEOUT,
                    command_timeout=STATEMENT_TIMEOUT,
                    statement_cache_size=0 if self.poll_only else 100,
                    server_settings={"application_name": "torpor", "timezone": "UTC"},
                )
                await self._look_at_version()
        except TorporError:
            await self.aclose()
            raise

    async def _look_at_version(self) -> None:
        version = int(await self.fetchval("show server_version_num"))
        if version < OLDEST:
            raise OldPostgres(f"it is {version // 10_000}.{version % 10_000}")

    async def aclose(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.terminate()  # every statement has its own end; there is nothing to wait for
            await pool.close()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """A transaction that is committed at the end and rolled back by an exception."""
        with told_by_code():
            lent = self._opened().acquire(timeout=CONNECT_TIMEOUT)
            async with lent as connection, connection.transaction():
                self.queries += 2  # begin, commit
                yield connection

    async def fetch(self, sql: str, *values: Any) -> list[Record]:
        self.queries += 1
        with told_by_code():
            return await self._opened().fetch(sql, *values)

    async def fetchrow(self, sql: str, *values: Any) -> Record | None:
        self.queries += 1
        with told_by_code():
            row: Record | None = await self._opened().fetchrow(sql, *values)
            return row

    async def fetchval(self, sql: str, *values: Any) -> Any:
        self.queries += 1
        with told_by_code():
            return await self._opened().fetchval(sql, *values)

    async def execute(self, sql: str, *values: Any) -> str:
        self.queries += 1
        with told_by_code():
            return str(await self._opened().execute(sql, *values))

    async def connect(self) -> asyncpg.Connection[Any]:
        """A connection outside the pool, which the caller closes; for LISTEN."""
        with told_by_code():
            return await asyncpg.connect(
                self.url,
                timeout=CONNECT_TIMEOUT,
                command_timeout=STATEMENT_TIMEOUT,
                statement_cache_size=0 if self.poll_only else 100,
            )

    def _opened(self) -> asyncpg.Pool[Any]:
        if self._pool is None:
            raise DatabaseAway("it is closed")
        return self._pool


async def connect(url: str, timeout: float = STATEMENT_TIMEOUT) -> asyncpg.Connection[Any]:  # noqa: ASYNC109 - of each statement
    """One connection, which the caller closes.

    Raises:
        BadDatabaseUrl, DatabaseAway: with what to do about it.
    """
    with _naming(url), told_by_code():
        return await asyncpg.connect(url, timeout=CONNECT_TIMEOUT, command_timeout=timeout)


@contextmanager
def _naming(url: str) -> Iterator[None]:
    """Say which database it is that does not answer, or whose URL cannot be right."""
    try:
        yield
    except DatabaseAway as error:
        cause = error.__cause__
        why = cause.strerror if isinstance(cause, OSError) and cause.strerror else error.detail
        raise DatabaseAway(f"{shown(url)}: {why}") from cause
    except (*_WRONG, ValueError) as error:
        raise BadDatabaseUrl(f"{shown(url)}: {_without_secrets(error, url)}") from None


def shown(url: str) -> str:
    """The URL without what is secret in it."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "the URL"
    if not parts.netloc and not parts.path.startswith("/"):
        return "the URL"  # it is of another form, and anything in it may be the password
    return f"{parts.scheme or 'postgresql'}://{parts.hostname or ''}{parts.path}"


def _without_secrets(error: Exception, url: str) -> str:
    told = str(error)
    try:
        password = urlsplit(url).password
    except ValueError:
        return type(error).__name__
    return told.replace(password, "***") if password else told
