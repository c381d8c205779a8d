"""The Postgres of a run: Debian's, with a standby beside it, or the wheel's alone."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Protocol

import asyncpg
from pgkit.servers import Server, has_postgres

from chaoskit.clocks import Clock
from chaoskit.records import Lost, LostRow, Records
from torpor_statemachine.postgres.embedded import EmbeddedPostgres

# Commits are on their way to the disk before they are told of; only a crash of the machine itself,
# of which a run has none, could lose one, and a failover.
_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "log_connections": "off",
    "synchronous_commit": "on",
    "max_connections": "200",
    "wal_retrieve_retry_interval": "200ms",
}
# Not what Torpor's statements are made for; a session of its own says so at its start
_ISOLATION = {"default_transaction_isolation": "repeatable read"}
_BEHIND = 20  # seconds by which a standby's clock may differ from its primary's
_NEARLY = 5.0  # seconds in which a standby must have all that is committed
_RECENT = 5_000  # rows of the log, among which are those that a failover loses
_ASTRAY = 40.0  # seconds after a failover in which it is found out what it lost
_ROWS = "select id, satellite_id, event from transitions where id > $1 order by id"


class Servers(Protocol):
    """One name for whichever server is in charge."""

    url: str

    @property
    def clock(self) -> Clock | None:
        """Of the one in charge; None: it is right, and cannot be set."""
        ...

    @property
    def data(self) -> Path:
        """The folder of the one in charge."""
        ...

    async def fail_over(self, seconds: float) -> bool:
        """Lose what is committed for so long, and have the standby promoted; False: there is
        none."""
        ...


@asynccontextmanager
async def running(folder: Path, seed: int, records: Records) -> AsyncIterator[Servers]:
    if has_postgres():
        async with Pair.running(folder, seed, records) as pair:
            yield pair
    else:
        async with EmbeddedPostgres(folder, settings=_SETTINGS).running() as url:
            yield Alone(url, folder / "data")


class Alone:
    """The wheel's, which comes back by itself."""

    clock: Clock | None = None

    def __init__(self, url: str, data: Path) -> None:
        self.url = url
        self.data = data

    async def fail_over(self, seconds: float) -> bool:
        return False


class Pair:
    """Debian's: a primary that is started again whenever it ends, and a standby that follows it.

    The name is a folder in which the socket of the one in charge is linked.
    """

    def __init__(self, folder: Path, seed: int, records: Records) -> None:
        folder.mkdir(mode=0o755)
        self._folder = folder
        self._link = folder / ".s.PGSQL.5432"
        self._records = records
        self._rng = random.Random(f"{seed}/standbys")
        self._made = 0
        self._primary: _Kept | None = None
        self._standby: _Kept | None = None
        self._background: set[asyncio.Task[None]] = set()
        self.url = Server(folder).url

    @classmethod
    @asynccontextmanager
    async def running(cls, folder: Path, seed: int, records: Records) -> AsyncIterator[Pair]:
        pair = cls(folder, seed, records)
        try:
            clock = pair._clock(0)
            pair._lead(await _Kept.primary(clock))
            pair._standby = await pair._follower()
            yield pair
        finally:
            for task in pair._background:
                task.cancel()
            await asyncio.gather(*pair._background, return_exceptions=True)
            for kept in (pair._primary, pair._standby):
                if kept is not None:
                    await kept.aclose()

    @property
    def _in_charge(self) -> _Kept:
        assert self._primary is not None
        return self._primary

    @property
    def data(self) -> Path:
        return self._in_charge.server.folder / "data"

    @property
    def clock(self) -> Clock | None:
        return self._in_charge.clock

    def _clock(self, wrong_by: int) -> Clock:
        self._made += 1
        return Clock(self._folder.parent / f"clock-postgres-{self._made}", wrong_by)

    def _lead(self, kept: _Kept) -> None:
        """Have the name lead to it, in one step."""
        self._primary = kept
        new = self._folder / "new"
        new.symlink_to(kept.server.folder / ".s.PGSQL.5432")
        new.replace(self._link)
        kept.keep_alive()

    async def _follower(self) -> _Kept:
        primary = self._in_charge
        clock = self._clock(primary.clock.wrong_by + self._rng.randint(-_BEHIND, _BEHIND))
        return await _Kept.standby(primary.server, clock)

    async def fail_over(self, seconds: float) -> bool:
        standby = self._standby
        if standby is None:
            return False
        try:
            async with asyncio.timeout(_NEARLY):
                await self._in_charge.server.caught_up(standby.server)
        except (OSError, TimeoutError, asyncpg.PostgresError):
            return False  # it is away, or has just been: no more than seconds are to be lost
        self._standby = None
        lost = Lost(time.monotonic())
        self._records.lost.append(lost)
        await standby.server.hear_no_more()
        await asyncio.sleep(seconds)
        dead = self._in_charge
        await dead.power_off()
        await standby.server.promote()
        kept = {row["id"] for row in await _recent(standby.server)}
        lost.after = max(kept, default=0)
        lost.ended = time.monotonic()
        self._lead(standby)
        task = asyncio.create_task(self._find_out(dead, lost, kept))
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return True

    async def _find_out(self, dead: _Kept, lost: Lost, kept: set[int]) -> None:
        """What was lost stands on the dead one's disk; then there is a standby again."""
        while True:
            with suppress(TimeoutError):
                await dead.server.start(_SETTINGS)
                break
        for row in await _recent(dead.server):
            if row["id"] not in kept:
                lost.rows.append(LostRow(row["id"], row["satellite_id"], row["event"]))
        await dead.aclose()
        while self._standby is None:
            # It may die while it is copied
            with suppress(OSError, AssertionError, asyncpg.PostgresError, TimeoutError):
                self._standby = await self._follower()
            await asyncio.sleep(1)
        await asyncio.sleep(_ASTRAY)
        with suppress(OSError, asyncpg.PostgresError, TimeoutError):
            lost.until = await _asked(self.url, "select max(id) from transitions") or 0


async def _recent(server: Server) -> list[asyncpg.Record]:
    newest = await _asked(server.url, "select max(id) from transitions") or 0
    return list(await _fetched(server.url, _ROWS, newest - _RECENT))


async def _asked(url: str, sql: str) -> int | None:
    [row] = await _fetched(url, sql)
    found: int | None = row[0]
    return found


async def _fetched(url: str, sql: str, *values: object) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(url, timeout=10, command_timeout=10)
    try:
        return list(await connection.fetch(sql, *values))
    finally:
        connection.terminate()


class _Kept:
    """A server, and what is to be undone when it is not needed any more."""

    def __init__(self, server: Server, clock: Clock, stack: AsyncExitStack) -> None:
        self.server = server
        self.clock = clock
        self._stack = stack
        self._keeping: asyncio.Task[None] | None = None

    @classmethod
    async def primary(cls, clock: Clock) -> _Kept:
        made = Server.made(clock.environment(), **_SETTINGS, **_ISOLATION)
        stack = AsyncExitStack()
        return cls(await stack.enter_async_context(made), clock, stack)

    @classmethod
    async def standby(cls, primary: Server, clock: Clock) -> _Kept:
        made = primary.standby(clock.environment(), **_SETTINGS, **_ISOLATION)
        stack = AsyncExitStack()
        return cls(await stack.enter_async_context(made), clock, stack)

    def keep_alive(self) -> None:
        self._keeping = asyncio.create_task(self._start_again(), name="keep Postgres alive")

    async def _start_again(self) -> None:
        while True:
            assert self.server.process is not None
            await self.server.process.running.wait()
            await asyncio.sleep(0.05)  # those it has left behind end by themselves
            await self.server.run({**_SETTINGS, **_ISOLATION}, environment=self.clock.environment())

    async def power_off(self) -> None:
        """All of it at once: no session goes on for another moment."""
        await self._leave_alone()
        process = self.server.process
        assert process is not None
        pid = process.running.pid
        sessions = children(pid)
        for each in (pid, *sessions):
            with suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
        await process.kill()

    async def _leave_alone(self) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)

    async def aclose(self) -> None:
        await self._leave_alone()
        await self._stack.aclose()


def children(pid: int) -> list[int]:
    """The processes that it has started."""
    try:
        told = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(child) for child in told.split()]
