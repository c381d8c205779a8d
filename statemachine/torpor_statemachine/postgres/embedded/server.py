"""The embedded server: made on first use, kept alive, ended with its owner."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import asyncpg

from torpor_statemachine.postgres.embedded.access import Access, url_of
from torpor_statemachine.postgres.embedded.binaries import Binaries, find
from torpor_statemachine.postgres.embedded.errors import (
    FolderInUse,
    FolderOfAnotherVersion,
    PostgresFailed,
)
from torpor_statemachine.postgres.embedded.folder import Folder
from torpor_statemachine.postgres.embedded.programs import Programs

logger = logging.getLogger(__name__)

START_BUDGET = 120.0  # seconds; after a crash of the machine it replays its log first
STOP_BUDGET = 30.0  # seconds for an orderly end
WAIT_FOR_OTHER = 30.0  # seconds in which another process's server must answer, or end
PROBE_PAUSE = 0.01  # seconds
FIRST_RESTART_DELAY = 0.1  # seconds; doubled each time it dies again
LONGEST_RESTART_DELAY = 5.0
MAX_CONNECTIONS = 200

# For tests: a crash of the machine loses everything, a crash of the server nothing.
_VOLATILE = {"fsync": "off", "full_page_writes": "off"}


class EmbeddedPostgres:
    """A Postgres whose data lies in `folder`, reachable by this user on this machine only.

    `settings` are Postgres's own, over the defaults. `volatile` trades what survives a crash of
    the machine for speed.
    """

    def __init__(
        self, folder: Path, *, volatile: bool = False, settings: Mapping[str, str] | None = None
    ) -> None:
        self._folder = Folder(folder)
        self._durable = not volatile
        self._settings = {
            "max_connections": str(MAX_CONNECTIONS),
            **(_VOLATILE if volatile else {}),
            **(settings or {}),
        }
        self.is_anothers = False  # while running: it ends when another process does

    def __repr__(self) -> str:
        return f"<EmbeddedPostgres in {self._folder.path}>"

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        """The server's URL, for as long as the context lasts.

        The first process in a folder owns the server: starts it, starts it anew if it dies,
        and ends it. Others get the same URL, which is good until the owner leaves. The server
        also ends when its owner is killed. Enter this from a thread that lasts as long as the
        context, such as the main one: on Linux the server ends with that thread.

        Raises:
            EmbeddedPostgresError: with the code of why there is none.
        """
        self._folder.prepare()
        owner = await self._own_or_find()
        if isinstance(owner, str):
            self.is_anothers = True
            yield owner
            return
        try:
            async with self._owned() as url:
                yield url
        finally:
            os.close(owner)

    async def _own_or_find(self) -> int | str:
        """A lock that makes this process the owner, or the URL of another owner's server."""
        end = asyncio.get_running_loop().time() + WAIT_FOR_OTHER
        while asyncio.get_running_loop().time() < end:
            if (owner := self._folder.own()) is not None:
                return owner
            if recorded := self._folder.recorded():
                url = url_of(recorded["sockets"], recorded["user"], recorded.get("password", ""))
                if await _answers(url):
                    return url
            await asyncio.sleep(PROBE_PAUSE)
        raise FolderInUse(str(self._folder.path))

    @asynccontextmanager
    async def _owned(self) -> AsyncIterator[str]:
        account = self._folder.account()
        binaries = await asyncio.to_thread(find, account)
        programs = Programs(binaries, account, self._folder.log)
        lock = await self._lock_for_server()
        try:
            self._folder.set_up(account)
            await self._make_data(programs, binaries)
            self._folder.forget_pid()
            sockets = self._folder.make_sockets(account)
            access = Access(self._folder.data, str(sockets), account)
            self._folder.record(access.sockets, account.owner, access.password)
            server = _Server(programs, access, self._settings, lock)
            async with server.kept_alive():
                yield access.url
        finally:
            os.close(lock)
            self._folder.remove_sockets()

    async def _lock_for_server(self) -> int:
        """Wait until what a killed owner left behind has ended, as it does by itself."""
        end = asyncio.get_running_loop().time() + WAIT_FOR_OTHER
        while (lock := self._folder.lock_for_server()) is None:
            if asyncio.get_running_loop().time() > end:
                raise FolderInUse(f"{self._folder.path}: its last Postgres has not ended")
            await asyncio.sleep(PROBE_PAUSE)
        return lock

    async def _make_data(self, programs: Programs, binaries: Binaries) -> None:
        if self._folder.data.exists():
            if (made_by := self._folder.made_by()) != binaries.major:
                raise FolderOfAnotherVersion(
                    f"{self._folder.data} by {made_by}, {binaries.folder} is {binaries.major}"
                )
            return
        process = await programs.initdb(self._folder.new_data, durable=self._durable)
        async with _killed_at_the_end(process):
            if await process.wait() != 0:
                raise PostgresFailed(_last_words(programs.log))
        programs.account.take(self._folder.new_data)
        self._folder.new_data.replace(self._folder.data)


class _Server:
    """One server process after another, on the same socket."""

    def __init__(
        self, programs: Programs, access: Access, settings: dict[str, str], lock: int
    ) -> None:
        self._programs = programs
        self._access = access
        self._settings = settings
        self._lock = lock

    @asynccontextmanager
    async def kept_alive(self) -> AsyncIterator[None]:
        self._access.begin()
        self._process = await self._start()
        try:
            await self._until_it_answers(self._process)
            try:
                await self._access.ask_for_password()
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                raise PostgresFailed(_last_words(self._programs.log)) from error
            keeping = asyncio.create_task(self._keep_alive())
            try:
                yield
            finally:
                keeping.cancel()
                with suppress(asyncio.CancelledError):
                    await keeping
        finally:  # not in the task: one that is cancelled at once never runs at all
            await _stop(self._process)

    async def _start(self) -> Process:
        data, sockets = self._access.data, Path(self._access.sockets)
        _remove_if_empty(data / "postmaster.pid", *sockets.glob(".s.*.lock"))
        return await self._programs.postgres(data, sockets, self._settings, inherits=self._lock)

    async def _until_it_answers(self, process: Process) -> None:
        try:
            async with asyncio.timeout(START_BUDGET):
                while not await _answers(self._access.owners_url):
                    if process.returncode is not None:
                        raise PostgresFailed(_last_words(self._programs.log))
                    await asyncio.sleep(PROBE_PAUSE)
        except TimeoutError as error:
            raise PostgresFailed(f"no answer after {START_BUDGET:.0f} s") from error

    async def _keep_alive(self) -> None:
        """Start it anew whenever it ends."""
        delay = FIRST_RESTART_DELAY
        while True:
            started = asyncio.get_running_loop().time()
            code = await self._process.wait()
            if asyncio.get_running_loop().time() - started > LONGEST_RESTART_DELAY:
                delay = FIRST_RESTART_DELAY
            logger.error("the embedded Postgres ended with %s; starting it again", code)
            await asyncio.sleep(delay)
            delay = min(delay * 2, LONGEST_RESTART_DELAY)
            self._process = await self._start()


@asynccontextmanager
async def _killed_at_the_end(process: Process) -> AsyncIterator[None]:
    try:
        yield
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _stop(process: Process) -> None:
    """A fast shutdown, which ends sessions and leaves nothing to replay; then an immediate one."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        if process.returncode is None:
            process.send_signal(number)
            with suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), STOP_BUDGET)


def _remove_if_empty(*locks: Path) -> None:
    """A server that was killed between making its lock and writing it had begun nothing yet, and
    none after it would start over an empty one."""
    for lock in locks:
        if lock.exists() and lock.stat().st_size == 0:
            lock.unlink()


async def _answers(url: str) -> bool:
    try:
        connection = await asyncpg.connect(url, timeout=5, ssl=False)
    except (OSError, TimeoutError, asyncpg.CannotConnectNowError):
        return False
    except asyncpg.InvalidAuthorizationSpecificationError as error:
        raise FolderInUse(f"it is another user's: {error}") from error
    await connection.close()
    return True


def _last_words(log: Path) -> str:
    """The line that says why: a panic before all else, but not what clients were told meanwhile."""
    lines = log.read_text(errors="replace").splitlines()[-40:]
    for word in ("PANIC", "FATAL", "error"):
        found = [line for line in lines if word in line and "starting up" not in line]
        if found:
            return found[-1]
    return (lines or ["it said nothing"])[-1]
