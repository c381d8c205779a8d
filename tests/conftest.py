"""A database for a test: a Postgres of the session's own, a template migrated once, and a clone."""

from __future__ import annotations

import asyncio
import gc
import os
import secrets
import signal
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import hypothesis
import pytest
from pgkit.wire import Wire

from torpor_statemachine.postgres.embedded import EmbeddedPostgres
from torpor_statemachine.postgres.migrate import migrate
from torpor_statemachine.postgres.pool import Database

TEMPLATE = "torpor_template"
MEMORY = Path("/dev/shm")
ROOM = 4 << 30  # octets that it must have free


def pytest_configure() -> None:
    """What holds for all tests and the programs that they start."""
    if _has_room(MEMORY):
        os.environ.setdefault("TMPDIR", str(MEMORY))
        tempfile.tempdir = None
    # What one process has compiled the next needs not: half of the time to collect these tests
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    # A shell's background job ignores SIGINT, and so would every program that tests start
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # How long an example takes is what else the machine does
    hypothesis.settings.register_profile("suite", deadline=None)
    hypothesis.settings.load_profile("suite")
    # Tests may run as root, in folders and with a Python that no other account reaches
    os.environ.setdefault("TORPOR_LOCAL_ACCOUNTS", "router")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Set apart what lasts as long as this process: modules and tests are half a million objects.

    Each garbage collection in a test would go through them anew.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how much CPU all processes of the run took. The time depends on what else is going on."""
    used = os.times()
    terminalreporter.write_line(f"{sum(used[:4]):.0f} s of CPU")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Two for each core: half of the time of the long tests is waiting."""
    return 2 * (os.cpu_count() or 1)


def _has_room(folder: Path) -> bool:
    """Whether temporary files may lie there: a clone of a database is 350 files, and costs 12 ms
    of CPU in memory, 270 ms on the disk of a virtual machine."""
    try:
        found = os.statvfs(folder)
    except (OSError, AttributeError):
        return False
    usable = os.access(folder, os.W_OK | os.X_OK) and not found.f_flag & os.ST_NOEXEC
    return usable and found.f_bavail * found.f_frsize > ROOM


def _url_of(server: str, database: str) -> str:
    return urlsplit(server)._replace(path=f"/{database}").geturl()


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


@contextmanager
def _served(folder: Path) -> Iterator[str]:
    """The server runs under a loop in a thread of its own: each test has another loop."""
    url: list[str] = []
    failed: list[BaseException] = []
    ready = threading.Event()
    loops: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def serve() -> None:
        end = asyncio.Event()
        async with EmbeddedPostgres(folder, volatile=True).running() as told:
            url.append(told)
            loops.append((asyncio.get_running_loop(), end))
            ready.set()
            await end.wait()

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for, below
            failed.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=run, name="postgres")
    thread.start()
    ready.wait()
    try:
        if failed:
            raise failed[0]
        yield url[0]
    finally:
        for loop, end in loops:
            loop.call_soon_threadsafe(end.set)
        thread.join()


async def _make_template(server: str) -> None:
    async with _connected(server) as connection:
        await connection.execute(f"create database {TEMPLATE}")
    await migrate(_url_of(server, TEMPLATE))


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of this test process's own (each xdist worker has one). Nothing in it is durable."""
    folder = tmp_path_factory.mktemp("postgres", numbered=False)
    with _served(folder) as url:
        asyncio.run(_make_template(url))
        yield url


@pytest.fixture
async def empty_database_url(postgres_url: str) -> AsyncIterator[str]:
    """A database in which nothing has been migrated."""
    async with _clone_of(postgres_url, "template0") as url:
        yield url


@pytest.fixture
async def database_url(postgres_url: str) -> AsyncIterator[str]:
    """A database of the test's own, with every migration applied."""
    async with _clone_of(postgres_url, TEMPLATE) as url:
        yield url


@asynccontextmanager
async def _clone_of(server: str, template: str) -> AsyncIterator[str]:
    name = f"test_{secrets.token_hex(6)}"
    async with _connected(server) as connection:
        await connection.execute(f"create database {name} template {template} strategy file_copy")
    yield _url_of(server, name)
    async with _connected(server) as connection:
        await connection.execute(f"drop database {name} with (force)")


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with Database(database_url) as opened:
        yield opened


@pytest.fixture
async def wire(database_url: str) -> AsyncIterator[Wire]:
    """A way to the test's database that can be cut, silenced and mended."""
    with tempfile.TemporaryDirectory(prefix="torpor-") as folder:  # a socket's path is short
        async with Wire.laid(database_url, Path(folder)) as laid:
            yield laid
