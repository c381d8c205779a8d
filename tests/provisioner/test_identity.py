"""The identity socket: who answers, or that nobody says so; never more than a line is read."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest

from torpor_provisioner import identity
from torpor_provisioner.contract import Address, Identity

TIMEOUT = 30.0
LINE = b'{"boot_id": "b", "launch_token": "t/1", "uptime": 12.5}\n'
Serve = Callable[[bytes], Awaitable[Address]]


@pytest.fixture(params=["tcp", "unix"])
async def serve(request: pytest.FixtureRequest) -> AsyncIterator[Serve]:
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="torpor-"))

        async def serving(octets: bytes) -> Address:
            async def tell(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                stack.push_async_callback(_closed, writer)
                writer.write(octets)
                writer.close()

            if request.param == "unix":
                path = str(Path(folder) / "identity")
                server = await asyncio.start_unix_server(tell, path)
                where = Address(path, 0)
            else:
                server = await asyncio.start_server(tell, "127.0.0.1", 0)
                where = Address(*server.sockets[0].getsockname()[:2])
            stack.callback(server.close)
            return where

        yield serving


async def _closed(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()  # it may still have octets that nobody reads
    with suppress(ConnectionError):
        await writer.wait_closed()


async def test_the_identity_that_answers(serve: Serve) -> None:
    told = await identity.read(await serve(LINE), TIMEOUT)
    assert told == Identity("b", "t/1", 12.5)


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"\0\0\0\4\0\0\0\0\0",  # a worker's SETTINGS
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"[]\n",
        b'{"boot_id": "b"}\n',
        b'{"boot_id": "", "launch_token": "t", "uptime": 1}\n',
        b'{"boot_id": 7, "launch_token": "t", "uptime": 1}\n',
        b'{"boot_id": "%s", "launch_token": "t", "uptime": 1}\n' % (b"b" * 1000),
        b"[" * 4000 + b"\n",
        b'"' + b"x" * 1_000_000,
        b"\xff\xfe\n",
    ],
)
async def test_what_is_no_identity_is_none(serve: Serve, octets: bytes) -> None:
    assert await identity.read(await serve(octets), TIMEOUT) is None


async def test_where_nobody_listens_there_is_none() -> None:
    assert await identity.read(Address("127.0.0.1", 1), TIMEOUT) is None
    assert await identity.read(Address("/nowhere/identity", 0), TIMEOUT) is None


async def test_silence_is_none() -> None:
    async with AsyncExitStack() as stack:
        path = str(Path(stack.enter_context(tempfile.TemporaryDirectory())) / "identity")

        async def say_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            stack.push_async_callback(_closed, writer)

        silent = await asyncio.start_unix_server(say_nothing, path)
        stack.callback(silent.close)
        assert await identity.read(Address(path, 0), 0.05) is None
