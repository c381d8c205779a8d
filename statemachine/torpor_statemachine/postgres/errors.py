"""What can be wrong with the database, by what can be done about it.

A statement that fails because the server is away raises `DatabaseAway`, whatever the way in which
it was away: refused, restarting, full, silent, or gone in mid-statement. Whether a statement took
effect is then unknown, which is why every write of the lifecycle may be repeated. `DatabaseBusy`
and `NoConnectionFree` are of the same kind for everyone who tries again, and had no effect.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import asyncpg

from torpor_provisioner.errors import Status, TorporError


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


class DatabaseBusy(DatabaseAway):
    code = "TPR-5206"
    cause = "Another session of the router's database is in the way"
    remedy = "Retry in a few seconds; an operator finds the session with pg_blocking_pids()"


class NoConnectionFree(DatabaseAway):
    code = "TPR-5207"
    cause = "All connections of this router to its database are in use"
    remedy = "Retry in a few seconds; an operator sees in pg_stat_activity what they wait for"


class PoolerBetween(TorporError):
    code = "TPR-5208"
    status = Status.FAILED_PRECONDITION
    cause = "A connection pooler such as PgBouncer stands before the database"
    remedy = "Start the router with --poll-only, or give it the address of Postgres itself"


_AWAY = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # shutting down, starting up, terminated by an operator
    asyncpg.InsufficientResourcesError,  # too many connections, disk full
    asyncpg.ReadOnlySQLTransactionError,  # a standby, in the middle of a failover
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.InternalClientError,
)
_WRONG = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.ClientConfigurationError,
    asyncpg.InsufficientPrivilegeError,
)
CONFLICTS = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)


@contextmanager
def coded_errors() -> Iterator[None]:
    """Turn what asyncpg raises when the server is away into `DatabaseAway`."""
    try:
        yield
    except asyncpg.LockNotAvailableError as error:
        where = f" ({error.context.splitlines()[0]})" if error.context else ""
        raise DatabaseBusy(f"it holds a lock{where}") from error
    except CONFLICTS as error:
        raise DatabaseBusy(type(error).__name__) from error
    except asyncpg.ProtocolViolationError as error:
        if "startup parameter" not in str(error):  # PgBouncer passes on why Postgres is away
            raise DatabaseAway(str(error)) from error
        raise PoolerBetween(str(error)) from error
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


@contextmanager
def naming(url: str) -> Iterator[None]:
    """Say which database it is that does not answer, or whose URL cannot be right."""
    try:
        yield
    except DatabaseAway as error:
        cause = error.__cause__
        why = cause.strerror if isinstance(cause, OSError) and cause.strerror else error.detail
        raise type(error)(f"{shown(url)}: {why}") from cause
    except PoolerBetween as error:
        raise PoolerBetween(f"{shown(url)}: {error.detail}") from error.__cause__
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
    text = str(error)
    try:
        password = urlsplit(url).password
    except ValueError:
        return type(error).__name__
    return text.replace(password, "***") if password else text
