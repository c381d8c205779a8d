"""A worker's address becomes a connection: on a port or on a Unix socket, and never another's."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import cast

import pytest
import uvloop

from torpor_provisioner.contract import Address
from torpor_router.dial import dial
from torpor_router.h2.wire import settings
from torpor_router.probe import answers

NOBODY = 65534
only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
LOOPS = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
Loop = Callable[[], asyncio.AbstractEventLoop]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: a socket's may have 107 octets."""
    with tempfile.TemporaryDirectory(prefix="torpor-", dir="/tmp") as name:
        yield Path(name)


@asynccontextmanager
async def worker(path: Path) -> AsyncIterator[Address]:
    """Sends its SETTINGS to each client that connects, and nothing more."""

    greeting: set[asyncio.Task[None]] = set()

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        greeting.add(task)
        with suppress(ConnectionError):
            writer.write(settings(()))
            await writer.drain()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    async with await asyncio.start_unix_server(greet, path):
        yield Address(str(path), 0)
    if greeting:
        await asyncio.wait(greeting)


@LOOPS
def test_a_worker_on_a_socket_is_reached(loop: Loop, folder: Path) -> None:
    async def probe() -> None:
        async with worker(folder / "worker") as address:
            assert await answers(address, 30)
            transport, protocol = await dial(asyncio.Protocol, address)
            assert isinstance(protocol, asyncio.Protocol)
            transport.abort()
            await asyncio.sleep(0)
        assert not await answers(Address(str(folder / "none"), 0), 30)

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(probe())


@LOOPS
def test_a_socket_whose_backlog_is_full_is_not_taken_for_connected(
    loop: Loop, folder: Path
) -> None:
    async def probe() -> None:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(folder / "worker"))
            listener.listen(0)
            waiting = socket.socket(socket.AF_UNIX)
            waiting.connect(str(folder / "worker"))
            with waiting, pytest.raises(OSError):
                await dial(asyncio.Protocol, Address(str(folder / "worker"), 0))

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(probe())


@only_root
async def test_root_follows_no_link_to_another_accounts_socket(folder: Path) -> None:
    """The worker owns the folder of its socket, and may put there what it likes."""
    satellites = folder / "run"
    satellites.mkdir()
    os.chown(satellites, NOBODY, NOBODY)
    async with worker(folder / "docker.sock") as roots:
        (satellites / "worker").symlink_to(roots.host)
        with pytest.raises(PermissionError, match="65534"):
            await dial(asyncio.Protocol, Address(str(satellites / "worker"), 0))
        assert not await answers(Address(str(satellites / "worker"), 0), 30)


class GivesUp(asyncio.Protocol):
    """What a client that has hung up meanwhile makes of a worker's connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).abort()  # uvloop's have its methods, but are none


@LOOPS
def test_a_connection_given_up_at_once_closes_its_descriptor_once(loop: Loop, folder: Path) -> None:
    """Closed a second time, the number would be another connection's."""

    async def probe() -> None:
        for _ in range(5):
            await dial(GivesUp, Address(str(folder / "worker"), 0))
            later = [os.open(os.devnull, os.O_RDONLY) for _ in range(8)]
            await asyncio.sleep(0.01)
            gc.collect()
            for each in later:
                os.close(each)  # EBADF: it is closed already

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "worker"))
        listener.listen()
        with asyncio.Runner(loop_factory=loop) as runner:
            runner.run(probe())
