"""A worker that breaks what rules the test wants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from doorkit.fakes import NOWHERE

from torpor_provisioner.contract import Address
from torpor_router.h2 import wire

HELLO = wire.settings([(4, 1 << 20)])


@dataclass
class Evil:
    """Sends HELLO (and acknowledges, if it `acknowledges`), and `flood` for ever once the first
    HEADERS have come; after that it reads on only if it `reads`."""

    flood: Callable[[int], bytes]
    acknowledges: bool = True
    reads: bool = True
    address: Address = NOWHERE
    sent: int = 0  # octets
    ends: int = 0  # connections that the door has closed
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        writer.write(HELLO + wire.SETTINGS_ACK * self.acknowledges)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readexactly(len(wire.PREFACE))
            stream = await self._first_request(reader)
            reading = asyncio.create_task(self._drop(reader)) if self.reads else None
            octets = self.flood(stream)
            while octets:
                writer.write(octets)
                await writer.drain()
                self.sent += len(octets)
                await asyncio.sleep(0)
                if reading is not None and reading.done():
                    break
            if reading is not None:
                await reading
        self.ends += 1
        writer.close()

    async def _first_request(self, reader: asyncio.StreamReader) -> int:
        while True:
            word, _, stream = wire.unpack_header(await reader.readexactly(9), 0)
            await reader.readexactly(word >> 8)
            if word & 0xFF == wire.Kind.HEADERS:
                return int(stream)

    async def _drop(self, reader: asyncio.StreamReader) -> None:
        with suppress(ConnectionError):
            while await reader.read(1 << 16):
                pass


@asynccontextmanager
async def evil_worker(
    flood: Callable[[int], bytes], *, acknowledges: bool = True, reads: bool = True
) -> AsyncIterator[Evil]:
    made = Evil(flood, acknowledges, reads)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.address = Address("127.0.0.1", server.sockets[0].getsockname()[1])
    try:
        yield made
    finally:
        server.close()
        for each in made.writers:
            each.transport.abort()
