"""What one client without credentials may send as fast as it can, to a door or to another proxy."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from doorkit.frames import GREETING, fields

from torpor_provisioner.contract import Address
from torpor_router.h2 import wire
from torpor_router.h2.blocks import encode
from torpor_router.h2.wire import PREFACE, ErrorCode, Kind, frame

CHUNK = 64 * 1024  # octets an attacker writes at a time

NO_TOKEN = encode(fields()[:7])
ASK = encode(fields(b"acme/two", b"/t.T/Down"))
MANY_FIELDS = NO_TOKEN + b"\x90" * 3_000  # one octet each, from the static table
LITERALS = NO_TOKEN + encode(((b"x", b"y"),)) * 3_000
STRAY = wire.headers(1, NO_TOKEN, end_stream=False)


@dataclass(frozen=True)
class Attack:
    """`first` once, then `again` (streams counting up where it is a function) for ever."""

    first: bytes
    again: bytes | Callable[[int], bytes]
    greeting: bytes = GREETING
    reads: bool = False


def requests(block: bytes) -> Callable[[int], bytes]:
    def of(first: int) -> bytes:
        return b"".join(
            wire.headers(n, block, end_stream=True) for n in range(first, first + 20, 2)
        )

    return of


def reset_streams(first: int) -> bytes:
    return b"".join(
        wire.headers(n, ASK, end_stream=False) + wire.rst_stream(n, ErrorCode.CANCEL)
        for n in range(first, first + 20, 2)
    )


def settings_of_ids(first: int) -> bytes:
    return wire.settings([(n % 65_536, n) for n in range(first * 100, first * 100 + 2_000)])


NO_ACK = PREFACE + wire.settings(())

CLIENTS = {
    "stray DATA": Attack(STRAY, frame(Kind.DATA, 0, 1, b"x")),
    "stray DATA, padded": Attack(STRAY, frame(Kind.DATA, 8, 1, b"\x01x\x00")),
    "WINDOW_UPDATE": Attack(b"", wire.window_update(0, 1)),
    "WINDOW_UPDATE of a closed stream": Attack(STRAY, wire.window_update(1, 1)),
    "RST_STREAM of a closed stream": Attack(STRAY, wire.rst_stream(1, ErrorCode.CANCEL)),
    "trailers of a closed stream": Attack(STRAY, wire.headers(1, b"\x90", end_stream=True)),
    "PING": Attack(b"", frame(Kind.PING, 0, 0, bytes(8))),
    "SETTINGS": Attack(b"", wire.settings([(4, 1)])),
    "PRIORITY": Attack(b"", frame(Kind.PRIORITY, 0, 3, bytes(5))),
    "empty DATA": Attack(wire.headers(1, ASK, end_stream=False), frame(Kind.DATA, 0, 1)),
    "opened and reset": Attack(b"", reset_streams),
    "refused requests": Attack(b"", requests(NO_TOKEN)),
    "fields by the thousand": Attack(b"", requests(MANY_FIELDS)),
    "literals by the thousand": Attack(b"", requests(LITERALS)),
    "fields by the thousand, no acknowledgement": Attack(b"", requests(MANY_FIELDS), NO_ACK),
    "literals by the thousand, no acknowledgement": Attack(b"", requests(LITERALS), NO_ACK),
    "200 fields, no acknowledgement": Attack(
        b"", requests(NO_TOKEN + encode(((b"x", b"y"),)) * 190), NO_ACK
    ),
    "settings by the thousand": Attack(b"", settings_of_ids),
    "HTTP/1": Attack(b"", b"GET / HTTP/1.1\r\nx: y\r\n", b""),
    "half a block": Attack(
        b"", frame(Kind.CONTINUATION, 0, 1, bytes(9)), GREETING + frame(1, 0, 1)
    ),
}


async def attack(address: Address, of: Attack, seconds: float) -> int:
    """Connect as often as it is thrown out; how many octets were sent."""
    loop = asyncio.get_running_loop()
    until, sent = loop.time() + seconds, 0
    while loop.time() < until:
        with suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(until - loop.time()):
                _, writer = await asyncio.open_connection(*address, limit=1_024)
                try:
                    writer.transport.set_write_buffer_limits(high=CHUNK)
                    writer.write(of.greeting + of.first)
                    stream = 3
                    while loop.time() < until and not writer.transport.is_closing():
                        if callable(of.again):
                            octets, times = of.again(stream), 1
                        else:
                            octets, times = of.again, max(1, CHUNK // len(of.again))
                        stream += 20
                        writer.write(octets * times)
                        sent += len(octets) * times
                        await writer.drain()
                        await asyncio.sleep(0)
                finally:
                    writer.transport.abort()
    return sent
