"""Floods: the connection they come on is ended with the right error, and nobody else notices.

Every case sends much more than any limit allows, in one go, so that a door that went on working
through it would be seen to: the door may neither keep what comes nor act on it.
"""

from __future__ import annotations

import tracemalloc

import hpack
import pytest
from doorkit.frames import FrameClient, fields

from torpor_router.h2 import wire
from torpor_router.h2.blocks import encode
from torpor_router.h2.wire import PREFACE, ErrorCode, Kind, frame, settings

CALM = ErrorCode.ENHANCE_YOUR_CALM
MEMORY = 4 << 20  # octets that a flood may make the door keep, at its worst
HANG = encode(fields(path=b"/t.T/Hang"))
HELD = encode(fields(b"acme/two"))


def opened_and_reset(block):
    """CVE-2023-44487."""
    return b"".join(
        wire.headers(n, block, end_stream=True) + wire.rst_stream(n, ErrorCode.CANCEL)
        for n in range(1, 4_001, 2)
    )


def opened_and_made_to_be_reset():
    """CVE-2025-8671: the client sends what makes the server reset its streams."""
    return b"".join(
        wire.headers(n, HANG, end_stream=False) + wire.window_update(n, 0)
        for n in range(1, 4_001, 2)
    )


FLOODS = {
    "PING": (frame(Kind.PING, 0, 0, bytes(8)) * 50_000, CALM),
    "PING answers": (frame(Kind.PING, 1, 0, bytes(8)) * 50_000, CALM),
    "SETTINGS (CVE-2019-9515)": (settings([(4, 99)]) * 50_000, CALM),
    "SETTINGS answers": (wire.SETTINGS_ACK * 50_000, CALM),
    "PRIORITY": (frame(Kind.PRIORITY, 0, 3, bytes(5)) * 50_000, CALM),
    "unknown kinds": (frame(99, 0, 1) * 50_000, CALM),
    "GOAWAY": (frame(Kind.GOAWAY, 0, 0, bytes(8)) * 50_000, CALM),
    "empty DATA (CVE-2019-9518)": (
        wire.headers(1, HANG, end_stream=False) + frame(Kind.DATA, 0, 1) * 50_000,
        CALM,
    ),
    "empty DATA while held": (
        wire.headers(1, HELD, end_stream=False) + frame(Kind.DATA, 0, 1) * 50_000,
        CALM,
    ),
    "rapid reset (CVE-2023-44487)": (opened_and_reset(HANG), CALM),
    "rapid reset while held": (opened_and_reset(HELD), CALM),
    "made to reset (CVE-2025-8671)": (opened_and_made_to_be_reset(), CALM),
    "malformed requests": (
        b"".join(wire.headers(n, b"\x83", end_stream=True) for n in range(1, 4_001, 2)),
        CALM,
    ),
    "refused requests": (
        b"".join(wire.headers(n, encode(fields()[:6]), end_stream=True) for n in range(1, 999, 2)),
        CALM,
    ),
    "CONTINUATION (CVE-2024-27316)": (
        frame(Kind.HEADERS, 0, 1, b"\0") + frame(Kind.CONTINUATION, 0, 1, bytes(16_000)) * 300,
        CALM,
    ),
    "empty CONTINUATION": (
        frame(Kind.HEADERS, 0, 1) + frame(Kind.CONTINUATION, 0, 1) * 50_000,
        CALM,
    ),
    "window": (wire.window_update(0, (1 << 31) - 1) * 1_000, ErrorCode.FLOW_CONTROL_ERROR),
}


@pytest.mark.parametrize("name", FLOODS)
async def test_a_flood_ends_its_connection_only(strict, connect, neighbour, until, measured, name):
    octets, code = FLOODS[name]
    client = await connect(strict)
    tracemalloc.start()
    try:
        client.send(octets)
        said = await client.connection_error()
        grown = tracemalloc.get_traced_memory()[1] - 2 * len(octets)  # ours, and the transport's
    finally:
        tracemalloc.stop()
    assert said == code
    assert client.of(Kind.GOAWAY)[-1].payload[8:], "it says in words what was wrong"
    assert grown < MEMORY
    measured("octets sent", f"{len(octets):,}")
    measured("error", said.name)
    await neighbour.is_unaffected()
    await until(lambda: strict.door.relay.counts.connections == 1)


def bomb():
    """One field of 4,000 octets in the dynamic table, and 16,000 references to it."""
    encoder = hpack.Encoder()
    planted = encoder.encode([*fields(), (b"x-large", b"v" * 4_000)])
    return planted, planted + b"\xbe" * 16_000  # 0xbe: the newest entry of the dynamic table


async def test_an_hpack_bomb(strict, connect, neighbour):
    """64 MB of headers in 16 KB, by a table that only lives until our SETTINGS are acknowledged."""
    planted, references = bomb()
    client = await connect(strict, greet=False)
    tracemalloc.start()
    try:
        client.send(PREFACE, settings(()), wire.headers(1, planted, end_stream=False))
        client.send(wire.headers(3, references, end_stream=True))
        assert await client.connection_error() == CALM
        assert tracemalloc.get_traced_memory()[1] < MEMORY
    finally:
        tracemalloc.stop()
    await neighbour.is_unaffected()


async def test_an_hpack_bomb_behind_the_acknowledgement(strict, connect, neighbour):
    """There is no table any more that it could refer to."""
    planted, references = bomb()
    client = await connect(strict)
    client.send(wire.headers(1, planted, end_stream=False))
    client.send(wire.headers(3, references, end_stream=True))
    assert await client.connection_error() == ErrorCode.COMPRESSION_ERROR
    await neighbour.is_unaffected()


async def test_a_header_list_of_one_octet_fields(strict, connect, neighbour):
    """The static table is enough for 40 octets of list in each octet of a block."""
    client = await connect(strict)
    client.send(wire.headers(1, encode(fields()) + b"\x90" * 16_000, end_stream=True))
    assert (await client.response(1))[b"x-torpor-code"] == b"TPR-3005"
    await client.alive()
    await neighbour.is_unaffected()


async def test_what_follows_the_end_is_not_read(strict, connect, neighbour, worker):
    client: FrameClient = await connect(strict)
    client.send(frame(Kind.PING, 0, 0, bytes(8)) * 100)
    client.send(wire.headers(1, encode(fields(path=b"/t.T/Unary")), end_stream=True) * 1_000)
    assert await client.connection_error() == CALM
    assert "/t.T/Unary" not in worker.calls
    await neighbour.is_unaffected()


async def test_as_many_as_a_client_needs_are_no_flood(house_with, worker, connect, until):
    """The limits as they ship: a long life of PINGs, SETTINGS and cancelled calls."""
    house = await house_with()
    house.gate.add("acme/one", worker.address)
    client = await connect(house)
    client.send(frame(Kind.PING, 0, 0, bytes(8)) * 500, settings(()) * 100)
    for stream in range(1, 801, 2):
        client.send(client.request(stream, end=False), wire.rst_stream(stream, ErrorCode.CANCEL))
    await client.alive()
    await until(lambda: not house.gate.inside.total())
