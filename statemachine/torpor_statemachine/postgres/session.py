"""How a session begins, so that no process which vanishes leaves its locks behind in Postgres.

A host that dies or is cut off says nothing: by its own rules Postgres would keep the session, and
what it has locked, for two hours. A session of ours is ended by Postgres within `GONE` seconds of
silence, and waits for another's lock for `LOCK` seconds at most. Behind a pooler these settings
are the role's (see `role`).
"""

from __future__ import annotations

import socket
from typing import Any

import asyncpg

CONNECT_TIMEOUT = 5.0  # seconds
STATEMENT = 10.0  # seconds; every statement of ours takes milliseconds
MARGIN = 1.0  # seconds; the server is to end a statement before the client gives it up
LOCK = 1.0  # seconds; for a lock that another session holds
IDLE = 5.0  # seconds; in a transaction, between two statements
GONE = 10.0  # seconds; without a sign of life from the other side

_KEEPALIVE = {"idle": 5, "interval": 2, "count": 3}  # the last probe is unanswered after GONE


def settings(*, lock: float = LOCK, statement: float = STATEMENT) -> dict[str, str]:
    """What holds for each session: in milliseconds, or as Postgres's own words."""
    return {
        # what the statements here are made for, whatever a site's default is
        "default_transaction_isolation": "read committed",
        "lock_timeout": _milliseconds(lock),
        "statement_timeout": _milliseconds(statement),
        "idle_in_transaction_session_timeout": _milliseconds(IDLE),
        "tcp_user_timeout": _milliseconds(GONE),
        **{f"tcp_keepalives_{name}": str(value) for name, value in _KEEPALIVE.items()},
    }


def _milliseconds(seconds: float) -> str:
    return str(int(seconds * 1000))


def options(*, pooled: bool, lock: float = LOCK, statement: float = STATEMENT) -> dict[str, Any]:
    """What `asyncpg.connect` is to be called with.

    `pooled`: nothing outlives its transaction on the server (no named statements) and nothing is
    set at the session's start, as PgBouncer in transaction mode demands.
    """
    own = {} if pooled else settings(lock=lock, statement=statement)
    return {
        "timeout": CONNECT_TIMEOUT,
        "command_timeout": statement + MARGIN,
        "statement_cache_size": 0 if pooled else 100,
        "server_settings": {"application_name": "torpor", "timezone": "UTC", **own},
    }


async def keep_alive(connection: asyncpg.Connection[Any]) -> None:
    """Have the kernel find out that the server is gone, when nothing is heard of it."""
    # asyncpg shows its socket nowhere else
    transport = connection._transport  # type: ignore[attr-defined]  # noqa: SLF001
    sock = transport.get_extra_info("socket")
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    wanted = {
        "TCP_KEEPIDLE": _KEEPALIVE["idle"],
        "TCP_KEEPINTVL": _KEEPALIVE["interval"],
        "TCP_KEEPCNT": _KEEPALIVE["count"],
        "TCP_USER_TIMEOUT": int(GONE * 1000),
    }
    for name, value in wanted.items():
        if (option := getattr(socket, name, None)) is not None:  # what the platform has
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


async def connect(
    url: str, *, pooled: bool, statement: float = STATEMENT
) -> asyncpg.Connection[Any]:
    """One session, as asyncpg opens it and with what it raises."""
    how = options(pooled=pooled, statement=statement)
    connection: asyncpg.Connection[Any] = await asyncpg.connect(url, **how)
    await keep_alive(connection)
    return connection
