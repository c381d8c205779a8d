"""What one client without credentials may do to a listener before and inside TLS."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from torpor_provisioner.contract import Address

_AT_ONCE = 50  # connections that one attacker has open
_READ = 65_536


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    return context


class _Client:
    """TLS by hand: whatever octets may be written between two steps of it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = _context().wrap_bio(self._in, self._out)
        with suppress(ssl.SSLWantReadError):
            self._tls.do_handshake()
        self.hello = self._out.read()

    async def handshake(self) -> None:
        self.writer.write(self.hello)
        while True:
            octets = await self.reader.read(_READ)
            if not octets:
                raise ConnectionResetError
            self._in.write(octets)
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                continue
            self.writer.write(self._out.read())
            return


async def _nothing(client: _Client) -> None:
    await client.reader.read()


async def _half_a_hello(client: _Client) -> None:
    client.writer.write(client.hello[: len(client.hello) // 2])
    await client.reader.read()


async def _hello_and_gone(client: _Client) -> None:
    """The server has signed; its answer is of no interest."""
    client.writer.write(client.hello)
    await client.reader.read(1)


async def _whole(client: _Client) -> None:
    await client.handshake()
    await client.writer.drain()


async def _garbage(client: _Client) -> None:
    client.writer.write(client.hello[:5] + os.urandom(len(client.hello) - 5))
    await client.reader.read()


async def _garbage_inside(client: _Client) -> None:
    await client.handshake()
    client.writer.write(b"\x17\x03\x03\x04\x00" + os.urandom(1_024))  # a record under no key
    await client.reader.read()


async def _hello_again(client: _Client) -> None:
    """As a client did that renegotiated; TLS 1.3 has none, and the door allows none in 1.2."""
    await client.handshake()
    client.writer.write(client.hello * 10)
    await client.reader.read()


TLS: dict[str, Callable[[_Client], Awaitable[None]]] = {
    "TLS: nothing": _nothing,
    "TLS: half a ClientHello": _half_a_hello,
    "TLS: ClientHello, and gone": _hello_and_gone,
    "TLS: whole handshakes": _whole,
    "TLS: garbage": _garbage,
    "TLS: garbage inside": _garbage_inside,
    "TLS: a handshake inside": _hello_again,
}


async def tls_attack(address: Address, kind: str, seconds: float) -> int:
    """Many connections at once, each anew when it has ended; how many there were."""
    made = 0

    async def again() -> None:
        nonlocal made
        while True:
            with suppress(OSError):
                made += 1
                async with _connected(address) as client:
                    await TLS[kind](client)

    tasks = [asyncio.create_task(again()) for _ in range(_AT_ONCE)]
    await asyncio.sleep(seconds)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return made


@asynccontextmanager
async def _connected(address: Address) -> AsyncIterator[_Client]:
    reader, writer = await asyncio.open_connection(*address)
    try:
        yield _Client(reader, writer)
    finally:
        writer.transport.abort()
