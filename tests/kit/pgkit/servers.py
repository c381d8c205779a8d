"""Debian's Postgres and PgBouncer, each started for a test, under an account without privileges."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import asyncpg
import pytest
from waiting import LONG

_QUICK = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


def _programs() -> Path | None:
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda at: int(at.parts[-3])
    )
    return found[-1].parent if found else None


def has_postgres() -> bool:
    return _programs() is not None


needs_postgres = pytest.mark.skipif(
    not has_postgres(), reason="Debian's Postgres is not installed (apt-get install postgresql)"
)


def has_pgbouncer() -> bool:
    return shutil.which("pgbouncer") is not None


needs_pgbouncer = pytest.mark.skipif(not has_pgbouncer(), reason="PgBouncer is not installed")


def _account() -> dict[str, object]:
    """Whom to run as: neither Postgres nor PgBouncer runs as root."""
    if os.geteuid():
        return {}
    user = pwd.getpwnam("nobody")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _short_temporary() -> str:
    return min(tempfile.gettempdir(), "/tmp", key=lambda each: len(each) > len("/dev/shm"))


@asynccontextmanager
async def own_folder() -> AsyncIterator[Path]:
    """A folder of that account's, under a path that is short enough for a socket."""
    folder = Path(tempfile.mkdtemp(prefix="torpor-", dir=_short_temporary()))
    _give(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _give(path: Path) -> None:
    account = _account()
    if account:
        os.chown(path, int(str(account["user"])), int(str(account["group"])))


@dataclass
class Process:
    """A program in the foreground, its log in its folder."""

    folder: Path
    running: asyncio.subprocess.Process

    @classmethod
    async def start(
        cls, folder: Path, *command: str | Path, environment: Mapping[str, str] | None = None
    ) -> Process:
        with (folder / "log").open("ab") as log:
            running = await asyncio.create_subprocess_exec(
                *map(str, command),
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
                **_account(),  # type: ignore[arg-type]
            )
        return cls(folder, running)

    async def kill(self) -> None:
        """At once, with all that it has started."""
        if self.running.returncode is None:
            with suppress(ProcessLookupError):  # it has just ended by itself
                os.killpg(self.running.pid, signal.SIGKILL)
            await self.running.wait()


@dataclass
class Server:
    """One Postgres. Its socket's name is that of the default port, in a folder of its own."""

    folder: Path
    port: str = "5432"
    process: Process | None = None

    @property
    def url(self) -> str:
        host = quote(str(self.folder), safe="")
        return f"postgresql://torpor@/torpor?host={host}&port={self.port}"

    @classmethod
    @asynccontextmanager
    async def made(
        cls, environment: Mapping[str, str] | None = None, **settings: str
    ) -> AsyncIterator[Server]:
        """A new one, with an empty database."""
        async with own_folder() as folder:
            await cls._ran("initdb", "-D", folder / "data", "-U", "torpor", "-A", "trust", "-N")
            server = cls(folder, port=settings.get("port", "5432"))
            try:
                await server.start(settings, environment)
                await server.execute("create database torpor", database="postgres")
                yield server
            finally:
                await server.kill()

    @asynccontextmanager
    async def standby(
        self, environment: Mapping[str, str] | None = None, **settings: str
    ) -> AsyncIterator[Server]:
        """One that follows this server, asynchronously."""
        async with own_folder() as folder:
            data = folder / "data"
            source = ("-h", self.folder, "-U", "torpor")
            await self._ran("pg_basebackup", *source, "-D", data, "-R", "-c", "fast", "-N")
            server = Server(folder)
            try:
                await server.start(settings, environment)
                yield server
            finally:
                await server.kill()

    async def start(
        self,
        settings: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Returns when it answers. What was killed a moment ago may be in its way, and end it: then
        it is run again."""
        await self.run(settings, environment)
        answering = asyncio.create_task(self._until("select 1", database="postgres"))
        try:
            while not (await asyncio.wait((answering,), timeout=1))[0]:
                assert self.process is not None
                if self.process.running.returncode is not None:
                    await self.run(settings, environment)
        finally:
            answering.cancel()
        await answering

    async def run(
        self,
        settings: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        given = {"listen_addresses": "", "unix_socket_directories": self.folder, **_QUICK}
        options = [
            word
            for name, value in {**given, **(settings or {})}.items()
            for word in ("-c", f"{name}={value}")
        ]
        programs = _programs()
        assert programs is not None
        self.process = await Process.start(
            self.folder,
            programs / "postgres",
            "-D",
            self.folder / "data",
            *options,
            environment=environment,
        )

    async def kill(self) -> None:
        """As a host that loses its power."""
        if self.process is not None:
            await self.process.kill()

    async def trust(self, network: str) -> None:
        """Let clients from there in."""
        with (self.folder / "data" / "pg_hba.conf").open("a") as file:
            file.write(f"host all all {network} trust\n")
        await self.execute("select pg_reload_conf()")

    async def promote(self) -> None:
        await self.execute("select pg_promote()")
        await self._until("select not pg_is_in_recovery()")

    async def hear_no_more(self) -> None:
        """A standby's: what its primary commits from now on it does not get."""
        await self.execute("alter system set primary_conninfo = ''")
        await self.execute("select pg_reload_conf()")
        await self._until("select not exists (select from pg_stat_wal_receiver)")

    async def caught_up(self, standby: Server) -> None:
        """The standby has all that was committed here until now."""
        at = await self.execute("select pg_current_wal_insert_lsn()::text")
        await standby._until(f"select pg_last_wal_replay_lsn() >= '{at}'::pg_lsn")

    async def execute(self, sql: str, database: str = "torpor") -> object:
        return await _asked(sql, self.url, database)

    async def _until(self, sql: str, database: str = "torpor") -> None:
        await _until_asked(sql, self.url, database)

    @staticmethod
    async def _ran(program: str, *arguments: str | Path) -> None:
        programs = _programs()
        assert programs is not None
        running = await asyncio.create_subprocess_exec(
            str(programs / program),
            *map(str, arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd="/",
            **_account(),  # type: ignore[arg-type]
        )
        recorded, _ = await running.communicate()
        assert running.returncode == 0, recorded.decode()


async def _asked(sql: str, url: str, database: str = "torpor") -> object:
    connection = await asyncpg.connect(url, database=database, timeout=LONG, statement_cache_size=0)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


async def _until_asked(sql: str, url: str, database: str = "torpor") -> None:
    async with asyncio.timeout(LONG):
        while True:
            try:
                if await _asked(sql, url, database):
                    return
            except (OSError, asyncpg.CannotConnectNowError, asyncpg.PostgresConnectionError):
                pass
            await asyncio.sleep(0.05)


@dataclass
class Bouncer:
    """One PgBouncer, its files in `folder`."""

    folder: Path
    process: Process | None = None

    @property
    def url(self) -> str:
        return f"postgresql://torpor@/torpor?host={quote(str(self.folder), safe='')}"

    async def run(self) -> None:
        file = self.folder / "pgbouncer.ini"
        self.process = await Process.start(self.folder, shutil.which("pgbouncer") or "", file)

    async def kill(self) -> None:
        if self.process is not None:
            await self.process.kill()


@asynccontextmanager
async def bouncer(server: Server, user: str = "torpor", **settings: str) -> AsyncIterator[Bouncer]:
    """One in transaction mode before `server`, with few connections to it, all as `user`."""
    async with own_folder() as folder:
        recorded = {
            "listen_addr": "",
            "listen_port": "5432",
            "unix_socket_dir": str(folder),
            "auth_type": "any",
            "pool_mode": "transaction",
            "default_pool_size": "3",
            **settings,
        }
        lines = "\n".join(f"{name} = {value}" for name, value in recorded.items())
        file = folder / "pgbouncer.ini"
        file.write_text(
            f"[databases]\n* = host={server.folder} user={user}\n[pgbouncer]\n{lines}\n"
        )
        _give(file)
        made = Bouncer(folder)
        await made.run()
        try:
            await _until_asked("select 1", made.url)
            yield made
        finally:
            await made.kill()


@asynccontextmanager
async def pgbouncer(server: Server, **settings: str) -> AsyncIterator[str]:
    """The URL of such a one."""
    async with bouncer(server, **settings) as made:
        yield made.url
