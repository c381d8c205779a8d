"""A Postgres that can be killed, frozen and cut off; it comes back on the same URL."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import asyncpg
from chaoskit.records import Records, Span

from torpor_statemachine.postgres import session
from torpor_statemachine.postgres.embedded import EmbeddedPostgres
from torpor_statemachine.postgres.migrate import migrate

# What a node's own session would have locked, had it vanished between two statements
_LOCKED = [
    f"select from {table} where ctid = any(array(select ctid from {table} order by random()"
    f" limit {most})) for update skip locked"
    for table, most in (("satellites", 50), ("nodes", 1))
]
# A build's satellite is idle again, as it was before its lease was taken; it is due for sleep later
# than any pause that a node outlives with its leases
_LEASES_LOST = """
with lost as (
    delete from leases where random() < 0.3 returning satellite_id
)
update satellites set idle_since = now(), sleep_due = now() + interval '60 seconds'
from lost where id = lost.satellite_id and state = 'running' and claimed_by is null
"""
_CLOCK_SET_BACK = """
update nodes set expires_at = expires_at + interval '1 hour',
    leases_until = leases_until + interval '1 hour'
"""

# Commits are on their way to the disk before they are told of; only a crash of the machine itself,
# of which a run has none, could lose one.
_SETTINGS = {"fsync": "off", "full_page_writes": "off", "log_connections": "off"}
_AWAY = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)


class Postgres:
    def __init__(self, url: str, folder: Path, records: Records) -> None:
        self.url = url
        self._pidfile = folder / "data" / "postmaster.pid"
        self._records = records
        self._watching: asyncio.Task[None] | None = None

    @classmethod
    @asynccontextmanager
    async def running(cls, folder: Path, records: Records) -> AsyncIterator[Postgres]:
        async with EmbeddedPostgres(folder, settings=_SETTINGS).running() as url:
            await migrate(url)
            made = cls(url, folder, records)
            try:
                yield made
            finally:
                if made._watching is not None:
                    made._watching.cancel()
                    await asyncio.gather(made._watching, return_exceptions=True)

    # --- faults

    async def kill(self) -> None:
        self._away()
        self._kill()

    async def keep_down(self, seconds: float) -> None:
        self._away()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._kill()
            await asyncio.sleep(0.1)

    async def hang(self, seconds: float, *, kill: bool) -> None:
        """Connections are accepted by the kernel, and nobody answers."""
        self._away()
        if (postmaster := self._postmaster()) is None:
            return
        _signal(signal.SIGSTOP, postmaster)
        backends = _children(postmaster)
        _signal(signal.SIGSTOP, *backends)
        try:
            await asyncio.sleep(seconds)
        finally:
            if kill:
                _signal(signal.SIGKILL, postmaster)
            _signal(signal.SIGCONT, postmaster, *backends)

    async def crash(self) -> None:
        """As a bug in the server would."""
        self._away()
        await self._tell("select pid from pg_stat_activity where application_name = 'torpor'", True)

    async def cut_listeners(self) -> None:
        await self._tell(
            """
            select pg_terminate_backend(pid) from pg_stat_activity
            where query ilike 'listen %' or query like '%pg_notify%'
            """
        )

    async def cut_all(self) -> None:
        await self._tell(
            """
            select pg_terminate_backend(pid) from pg_stat_activity
            where backend_type = 'client backend' and pid <> pg_backend_pid()
            """
        )

    async def vanish(self, seconds: float) -> None:
        """A session as nodes have them, of which nothing is heard any more."""
        with suppress(*_AWAY):
            connection = await session.connect(self.url, pooled=False)
            try:
                await connection.execute("begin")
                for sql in _LOCKED:
                    await connection.execute(sql)
                await asyncio.sleep(seconds)
            finally:
                connection.terminate()

    async def lose_leases(self) -> None:
        await self._tell(_LEASES_LOST)

    async def set_clock_back(self) -> None:
        await self._tell(_CLOCK_SET_BACK)

    async def _tell(self, sql: str, kill_one: bool = False) -> None:
        """If Postgres is away there is nobody to be cut off."""
        with suppress(*_AWAY):
            async with asyncio.timeout(5):
                connection = await asyncpg.connect(self.url)
                try:
                    found = await connection.fetch(sql)
                    if kill_one and found:
                        os.kill(found[0][0], signal.SIGKILL)
                finally:
                    connection.terminate()

    def _postmaster(self) -> int | None:
        try:
            return int(self._pidfile.read_text().splitlines()[0])
        except (OSError, ValueError, IndexError):
            return None  # it is being started, or has just ended

    def _kill(self) -> None:
        if (postmaster := self._postmaster()) is not None:
            _signal(signal.SIGKILL, postmaster)

    # --- how long it was away

    def _away(self) -> None:
        if self._watching is None or self._watching.done():
            span = Span(time.monotonic())
            self._records.outages.append(span)
            self._watching = asyncio.create_task(self._until_back(span))

    async def _until_back(self, span: Span) -> None:
        await asyncio.sleep(0.05)
        while not await self.answers():
            await asyncio.sleep(0.05)
        span.ended = time.monotonic()

    async def answers(self) -> bool:
        try:
            async with asyncio.timeout(1):
                connection = await asyncpg.connect(self.url, timeout=1)
                try:
                    await connection.execute("select 1")
                finally:
                    connection.terminate()
        except _AWAY:
            return False
        return True

    async def until_it_answers(self) -> None:
        while not await self.answers():
            await asyncio.sleep(0.1)

    async def fetch(self, sql: str, *values: object) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self.url)
        try:
            return list(await connection.fetch(sql, *values))
        finally:
            await connection.close()


def _signal(number: signal.Signals, *pids: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _children(pid: int) -> list[int]:
    try:
        told = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(child) for child in told.split()]
