"""One attacker with the limits as they ship, on a door in a process of its own.

Each sends as fast as it can for a while, and most do not read what comes back. Looked at are the
door's memory, the longest turn of its loop (by CPU, against a piece of work that is timed in the
same process meanwhile), and a neighbour who calls another satellite meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress

import pytest
from doorkit.alone import Doors, forked_doors
from doorkit.attacks import CHUNK, CLIENTS, NO_ACK, NO_TOKEN, attack
from doorkit.authority import client_context
from doorkit.evil import evil_worker
from doorkit.frames import FrameClient, message
from doorkit.tls_attacks import TLS, tls_attack

from torpor_router.h2 import wire
from torpor_router.h2.blocks import encode
from torpor_router.h2.wire import END_STREAM, Kind, frame

GROWTH = 20.0  # MiB that an attack may make the door keep, at its worst
# Pieces of work without another's turn: 50 ms of CPU on a core that has nothing else to do. In
# seconds it would be a bound on what else the machine does.
TURN = 100


@pytest.fixture(scope="module")
def doors() -> Iterator[Doors]:
    with forked_doors() as made:
        yield made


async def calls(address, until: asyncio.Event, tls=None) -> int:
    """A neighbour's calls, one after the other; how many were answered."""
    client = await FrameClient.connect(address, tls=tls)
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
    pytest.param(0.5, id="short"),
    pytest.param(20.0, id="long", marks=(pytest.mark.slow, pytest.mark.timeout(120))),
]


async def attacked(door, work, measured, tls=None) -> None:
    """Let `work` attack; check what the door made of it."""
    over = asyncio.Event()
    neighbour = asyncio.create_task(calls(door.address, over, tls))
    await asyncio.sleep(0.2)
    before = await door.report()
    sent = await work
    after = await door.report()
    over.set()
    answered = await neighbour
    measured("octets sent" if tls is None else "connections", f"{sent:,}")
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
async def test_one_client(doors, worker, measured, name, seconds):
    async with doors.door({"acme/one": worker.address, "acme/two": worker.address}) as door:
        await attacked(door, attack(door.address, CLIENTS[name], seconds), measured)


@pytest.mark.parametrize("seconds", SECONDS)
@pytest.mark.parametrize("kind", TLS)
async def test_one_client_of_tls(doors, worker, authority, measured, kind, seconds):
    """Fifty connections at once, each anew when it has ended."""
    leaf = authority.issue(dns=("door.test",))
    satellites = {"acme/one": worker.address, "acme/two": worker.address}
    async with doors.door(satellites, tls=leaf) as door:
        work = tls_attack(door.address, kind, seconds)
        await attacked(door, work, measured, client_context(authority))


async def test_many_strangers_in_the_same_turn(doors, worker, measured):
    """Each does what one may do before its acknowledgement; all have written when one is read."""
    block = NO_TOKEN + b"\x90" * 190
    whole = NO_ACK + b"".join(wire.headers(n, block, end_stream=True) for n in range(1, 160, 2))
    async with doors.door({"acme/one": worker.address, "acme/two": worker.address}) as door:

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
    "RST_STREAM": lambda n: wire.rst_stream(n, 8),  # type: ignore[arg-type]
    "DATA of a closed stream": lambda n: wire.rst_stream(n, 8) + frame(Kind.DATA, 0, n, b"x") * 999,  # type: ignore[arg-type]
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
async def test_one_worker(doors, worker, measured, name, seconds, acknowledges, reads):
    """Its client reads nothing and comes again as often as it is thrown out."""

    async def ask(address) -> int:
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while loop.time() < until:
            client = await FrameClient.connect(address)
            client.satellite = b"acme/two"
            client.send(wire.settings([(4, (1 << 31) - 1)]), wire.window_update(0, 1 << 30))
            client.send(client.request(1, end=False))
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            with suppress(TimeoutError, AssertionError):
                async with asyncio.timeout(min(1.0, max(0.0, until - loop.time()))):
                    await client.end()
            await client.aclose()
        return evil.sent

    flood = answered_with(WORKERS[name])
    async with (
        evil_worker(flood, acknowledges=acknowledges, reads=reads) as evil,
        doors.door({"acme/one": worker.address, "acme/two": evil.address}) as door,
    ):
        await attacked(door, ask(door.address), measured)
