"""A Postgres that can be killed, frozen and cut off; it comes back on the same URL."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import asyncpg
from pgkit.servers import Bouncer, Server, bouncer, has_pgbouncer
from pgkit.wire import Wire

from chaoskit.records import Records, Span
from chaoskit.servers import Servers, children, running
from torpor_statemachine.postgres import session
from torpor_statemachine.postgres.migrate import migrate
from torpor_statemachine.postgres.pool import Database
from torpor_statemachine.postgres.role import lacking

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
FAILOVER = "failovers to a standby that lacked the last commits"
_BUG = asyncpg.InternalClientError  # a server killed in mid-answer confuses it
_AWAY = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, _BUG)


_POOLED = "pooled"  # the role that PgBouncer's sessions have
_POOLER = {
    "default_pool_size": "20",
    "server_login_retry": "1",  # else it waits for 15 s when Postgres was away for a moment
}


@dataclass(frozen=True)
class Way:
    """How a node reaches Postgres. `wire`: a link that can be cut."""

    url: str
    options: tuple[str, ...] = ()
    wire: Wire | None = None


class Postgres:
    """`ways` are those in which nodes reach it: by its name, over a wire, through PgBouncer."""

    def __init__(self, servers: Servers, records: Records) -> None:
        self.url = servers.url
        self.ways = [Way(self.url)]
        self._servers = servers
        self._pooler: Bouncer | None = None
        self._records = records
        self._watching: asyncio.Task[None] | None = None

    @classmethod
    @asynccontextmanager
    async def running(cls, folder: Path, seed: int, records: Records) -> AsyncIterator[Postgres]:
        async with AsyncExitStack() as stack:
            servers = await stack.enter_async_context(running(folder, seed, records))
            await migrate(servers.url)
            made = cls(servers, records)
            # In /tmp, for a socket's path must be short
            short = stack.enter_context(tempfile.TemporaryDirectory(prefix="torpor-"))
            wire = await stack.enter_async_context(Wire.laid(servers.url, Path(short)))
            made.ways.append(Way(wire.url, wire=wire))
            if has_pgbouncer() and servers.clock is not None:
                await made.fetch(f"create role {_POOLED} superuser login")
                before = Server(folder)
                pooler = await stack.enter_async_context(bouncer(before, _POOLED, **_POOLER))
                await made._pool(pooler)
            try:
                yield made
            finally:
                if made._watching is not None:
                    made._watching.cancel()
                    await asyncio.gather(made._watching, return_exceptions=True)

    async def _pool(self, pooler: Bouncer) -> None:
        """Its sessions are set up as `migrate` says."""
        async with Database(pooler.url, poll_only=True) as database:
            for statement in await lacking(database):
                await self.fetch(statement)
        await pooler.kill()
        await pooler.run()
        self._pooler = pooler
        self.ways.append(Way(pooler.url, ("--poll-only",)))

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
        backends = children(postmaster)
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
            where query ilike 'listen %' or query like '%pg_listening_channels%'
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

    def set_clock(self, by: int) -> None:
        """The one in charge has it wrong by so many seconds; a standby's differs a little."""
        if (clock := self._servers.clock) is not None:
            clock.set(by)

    async def fail_over(self, seconds: float) -> None:
        """What is committed for so many seconds is lost."""
        self._away()
        if await self._servers.fail_over(seconds):
            self._records.faults[FAILOVER] += 1

    async def kill_pooler(self) -> None:
        if self._pooler is not None:
            await self._pooler.kill()
            await self._pooler.run()

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
            return int((self._servers.data / "postmaster.pid").read_text().splitlines()[0])
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
