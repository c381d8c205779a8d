"""One attacker with the limits as they ship, on a door in a process of its own.

Each sends as fast as it can for a while, and most do not read what comes back. Looked at are the
door's memory, the longest turn of its loop (by CPU, against a piece of work that is timed in the
same process meanwhile), and a neighbour who calls another satellite meanwhile.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass

import pytest
from doorkit.alone import door_alone
from doorkit.evil import evil_worker
from doorkit.frames import GREETING, FrameClient, fields, message

from torpor_router.h2 import wire
from torpor_router.h2.blocks import encode
from torpor_router.h2.wire import END_STREAM, PREFACE, Kind, frame

GROWTH = 20.0  # MiB that an attack may make the door keep, at its worst
# Pieces of work without another's turn: 50 ms of CPU on a core that has nothing else to do. In
# seconds it would be a bound on what else the machine does.
TURN = 100
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
    again: object
    greeting: bytes = GREETING
    reads: bool = False


def requests(block):
    def of(first):
        return b"".join(
            wire.headers(n, block, end_stream=True) for n in range(first, first + 20, 2)
        )

    return of


def reset_streams(first):
    return b"".join(
        wire.headers(n, ASK, end_stream=False) + wire.rst_stream(n, 8)
        for n in range(first, first + 20, 2)
    )


def settings_of_ids(first):
    return wire.settings([(n % 65_536, n) for n in range(first * 100, first * 100 + 2_000)])


NO_ACK = PREFACE + wire.settings(())

CLIENTS = {
    "stray DATA": Attack(STRAY, frame(Kind.DATA, 0, 1, b"x")),
    "stray DATA, padded": Attack(STRAY, frame(Kind.DATA, 8, 1, b"\x01x\x00")),
    "WINDOW_UPDATE": Attack(b"", wire.window_update(0, 1)),
    "WINDOW_UPDATE of a closed stream": Attack(STRAY, wire.window_update(1, 1)),
    "RST_STREAM of a closed stream": Attack(STRAY, wire.rst_stream(1, 8)),
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


async def attack(address, of: Attack, seconds: float) -> int:
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
                        octets = of.again(stream) if callable(of.again) else of.again
                        stream += 20
                        times = max(1, CHUNK // len(octets)) if octets is of.again else 1
                        writer.write(octets * times)
                        sent += len(octets) * times
                        await writer.drain()
                        await asyncio.sleep(0)
                finally:
                    writer.transport.abort()
    return sent


async def calls(address, until: asyncio.Event) -> int:
    """A neighbour's calls, one after the other; how many were answered."""
    client = await FrameClient.connect(address)
    stream = 1
    while not until.is_set():
        client.send(client.request(stream, end=False))
        client.send(wire.frame(Kind.DATA, END_STREAM, stream, message(b"call")))
        assert (await client.response(stream))[b"grpc-status"] == b"0"
        client.frames.clear()
        stream += 2
        await asyncio.sleep(0.01)
    await client.aclose()
    return stream // 2


SECONDS = [
    pytest.param(1.5, id="short"),
    pytest.param(20.0, id="long", marks=(pytest.mark.slow, pytest.mark.timeout(120))),
]


async def attacked(door, work, measured) -> None:
    """Let `work` attack; check what the door made of it."""
    over = asyncio.Event()
    neighbour = asyncio.create_task(calls(door.address, over))
    await asyncio.sleep(0.2)
    before = await door.report()
    sent = await work
    after = await door.report()
    over.set()
    answered = await neighbour
    measured("octets sent", f"{sent:,}")
    measured("growth", f"{after.most - before.resident:.1f} MiB")
    pieces = after.longest / after.piece
    measured("longest turn", f"{after.longest * 1000:.0f} ms of CPU ({pieces:.0f} pieces of work)")
    measured("CPU", f"{after.cpu - before.cpu:.1f} s")
    measured("neighbour's calls", answered)
    assert answered, "nobody else was served"
    assert after.most - before.resident < GROWTH
    assert pieces < TURN


@pytest.mark.parametrize("seconds", SECONDS)
@pytest.mark.parametrize("name", CLIENTS)
async def test_one_client(worker, measured, name, seconds):
    async with door_alone({"acme/one": worker.address, "acme/two": worker.address}) as door:
        await attacked(door, attack(door.address, CLIENTS[name], seconds), measured)


async def test_many_strangers_in_the_same_turn(worker, measured):
    """Each does what one may do before its acknowledgement; all have written when one is read."""
    block = NO_TOKEN + b"\x90" * 190
    whole = NO_ACK + b"".join(wire.headers(n, block, end_stream=True) for n in range(1, 160, 2))
    async with door_alone({"acme/one": worker.address, "acme/two": worker.address}) as door:

        async def crowd() -> int:
            clients = [await FrameClient.connect(door.address, greet=False) for _ in range(60)]
            for client in clients:
                client.send(whole)
            for client in clients:
                with suppress(TimeoutError, AssertionError):
                    await client.end()
                await client.aclose()
            return len(whole) * len(clients)

        await attacked(door, crowd(), measured)


ANSWER = b"\x88" + encode(((b"content-type", b"application/grpc"),))


def answered_with(again):
    """The worker's answer to the first request, and then `again` by the chunk."""
    begun = set()

    def flood(stream):
        first = b"" if stream in begun else wire.headers(stream, ANSWER, end_stream=False)
        begun.add(stream)
        octets = again(stream)
        return first + octets * max(1, CHUNK // len(octets))

    return flood


WORKERS = {
    "PING": lambda _: frame(Kind.PING, 0, 0, bytes(8)),
    "WINDOW_UPDATE": lambda _: wire.window_update(0, 1),
    "SETTINGS": lambda _: wire.settings([(4, 1 << 20)]),
    "RST_STREAM": lambda n: wire.rst_stream(n, 8),
    "DATA of a closed stream": lambda n: wire.rst_stream(n, 8) + frame(Kind.DATA, 0, n, b"x") * 999,
    "empty DATA": lambda n: frame(Kind.DATA, 0, n),
    "PRIORITY": lambda n: frame(Kind.PRIORITY, 0, n, bytes(5)),
    "HEADERS again and again": lambda n: wire.headers(n, b"\x90" * 150, end_stream=False),
    "fields by the thousand": lambda n: wire.headers(n, b"\x90" * 60_000, end_stream=False),
    "DATA": lambda n: frame(Kind.DATA, 0, n, bytes(16_000)),
    "unknown frames": lambda n: frame(99, 0, n, bytes(100)),
}


@pytest.mark.parametrize("seconds", SECONDS)
@pytest.mark.parametrize("acknowledges", [True, False], ids=["acknowledged", "no acknowledgement"])
@pytest.mark.parametrize("reads", [True, False], ids=["reads", "does not read"])
@pytest.mark.parametrize("name", WORKERS)
async def test_one_worker(worker, measured, name, seconds, acknowledges, reads):
    """Its client reads nothing and comes again as often as it is thrown out."""

    async def ask(address) -> int:
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while loop.time() < until:
            client = await FrameClient.connect(address)
            client.satellite = b"acme/two"
            client.send(wire.settings([(4, (1 << 31) - 1)]), wire.window_update(0, 1 << 30))
            client.send(client.request(1, end=False))
            client.writer.transport.pause_reading()
            with suppress(TimeoutError, AssertionError):
                async with asyncio.timeout(min(1.0, max(0.0, until - loop.time()))):
                    await client.end()
            await client.aclose()
        return evil.sent

    flood = answered_with(WORKERS[name])
    async with (
        evil_worker(flood, acknowledges=acknowledges, reads=reads) as evil,
        door_alone({"acme/one": worker.address, "acme/two": evil.address}) as door,
    ):
        await attacked(door, ask(door.address), measured)
