"""RFC 9113 section 5: the states of a stream, and what may come in each of them."""

from __future__ import annotations

import pytest
from doorkit.frames import message

from torpor_router.h2 import wire
from torpor_router.h2.wire import END_STREAM, PRIORITIZED, ErrorCode, Kind, frame

PROTOCOL, CLOSED = ErrorCode.PROTOCOL_ERROR, ErrorCode.STREAM_CLOSED
OPEN, NEW = 1, 3  # streams: as the fixture leaves them
SERVED = pytest.mark.parametrize("stage", ["waiting", "paired"])


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(frame(Kind.DATA, END_STREAM, NEW, b"x"), id="DATA"),
        pytest.param(frame(Kind.RST_STREAM, 0, NEW, bytes(4)), id="RST_STREAM"),
        pytest.param(wire.window_update(NEW, 1), id="WINDOW_UPDATE"),
        pytest.param(frame(Kind.CONTINUATION, 4, NEW, b""), id="CONTINUATION"),
    ],
)
async def test_section_5_1_idle(client, octets):
    client.send(octets)
    assert await client.connection_error() == PROTOCOL


@pytest.fixture
async def half_closed(client, worker):
    """Stream 3, which the client has ended, and which has not been answered yet."""
    client.send(client.request(NEW, path=b"/t.T/Hang", end=False))
    client.send(frame(Kind.DATA, END_STREAM, NEW, message(b"")))
    await client.alive()
    return client


@SERVED
async def test_section_5_1_half_closed_data(half_closed):
    half_closed.send(frame(Kind.DATA, 0, NEW, b"more"))
    assert await half_closed.stream_error(NEW) == CLOSED
    await half_closed.alive()


@SERVED
async def test_section_5_1_half_closed_headers(half_closed):
    half_closed.send(half_closed.request(NEW, end=True))
    assert await half_closed.stream_error(NEW) == CLOSED
    await half_closed.alive()


@SERVED
async def test_section_5_1_half_closed_continuation(half_closed):
    half_closed.send(frame(Kind.CONTINUATION, 4, NEW, b""))
    assert await half_closed.connection_error() == PROTOCOL


@SERVED
@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(wire.window_update(NEW, 1), id="WINDOW_UPDATE"),
        pytest.param(frame(Kind.PRIORITY, 0, NEW, bytes(5)), id="PRIORITY"),
        pytest.param(wire.rst_stream(NEW, ErrorCode.CANCEL), id="RST_STREAM"),
    ],
)
async def test_section_5_1_half_closed_what_may_come(half_closed, octets):
    half_closed.send(octets)
    await half_closed.alive()
    assert not half_closed.of(Kind.RST_STREAM)


@pytest.fixture
async def closed(client):
    """Stream 3, which the client has reset."""
    client.send(client.request(NEW, end=False), wire.rst_stream(NEW, ErrorCode.CANCEL))
    await client.alive()
    return client


@SERVED
async def test_section_5_1_closed_data(closed):
    closed.send(frame(Kind.DATA, 0, NEW, b"more"))
    assert await closed.stream_error(NEW) == CLOSED
    await closed.alive()


@SERVED
async def test_section_5_1_closed_headers(closed):
    closed.send(closed.request(NEW, end=True))
    assert await closed.connection_error() == CLOSED


@SERVED
async def test_section_5_1_closed_continuation(closed):
    closed.send(frame(Kind.CONTINUATION, 4, NEW, b""))
    assert await closed.connection_error() == PROTOCOL


@SERVED
@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(wire.window_update(NEW, 1), id="WINDOW_UPDATE"),
        pytest.param(frame(Kind.PRIORITY, 0, NEW, bytes(5)), id="PRIORITY"),
        pytest.param(wire.rst_stream(NEW, ErrorCode.CANCEL), id="RST_STREAM"),
    ],
)
async def test_section_5_1_closed_what_may_come(closed, octets):
    """Some of it was on its way when the stream closed."""
    closed.send(octets)
    await closed.alive()


@pytest.mark.parametrize("stage", ["paired"])
async def test_section_5_1_closed_by_both(client):
    client.send(client.request(NEW, end=True))
    await client.response(NEW)
    client.send(frame(Kind.DATA, 0, NEW, b"more"))
    assert await client.stream_error(NEW) == CLOSED
    client.send(client.request(NEW + 2, end=True))
    await client.response(NEW + 2)
    client.send(client.request(NEW + 2, end=True))
    assert await client.connection_error() == CLOSED


async def test_section_5_1_1_an_even_stream(client):
    client.send(client.request(2, end=True))
    assert await client.connection_error() == PROTOCOL


async def test_section_5_1_1_a_lower_stream(client, worker):
    """Its first use has closed all lower ones that were idle."""
    client.send(client.request(9, end=False), client.request(7, end=True))
    assert await client.connection_error() == ErrorCode.PROTOCOL_ERROR
    assert len(worker.calls) <= 2


@pytest.mark.parametrize("awake", [True, False], ids=["awake", "asleep"])
async def test_section_5_1_2_more_streams_than_announced(house_with, worker, connected, awake):
    house = await house_with(streams_per_connection=2)
    house.gate.add("acme/one", worker.address, awake=awake)
    client = await connected(to=house)
    for stream in (1, 3, 5):
        client.send(client.request(stream, end=False))
    assert await client.stream_error(5) == ErrorCode.REFUSED_STREAM
    client.send(wire.rst_stream(1, ErrorCode.CANCEL))
    client.send(client.request(7, end=False))
    await client.alive()
    assert not client.of(Kind.RST_STREAM, 7)


@SERVED
async def test_section_5_3_2_priority_says_nothing_any_more(client, worker, until):
    """Not even where it is wrong: RFC 9113 dropped what RFC 7540 said of dependencies."""
    self_dependent = NEW.to_bytes(4, "big") + b"\x10"
    flags = 5 | PRIORITIZED
    client.send(frame(Kind.HEADERS, flags, NEW, self_dependent + client.block()))
    await client.alive()
    assert not client.of(Kind.RST_STREAM)


@SERVED
async def test_section_5_3_1_of_rfc_7540_a_stream_depends_on_itself(client):
    client.send(frame(Kind.PRIORITY, 0, OPEN, OPEN.to_bytes(4, "big") + b"\x10"))
    assert await client.stream_error(OPEN) == PROTOCOL
    await client.alive()


async def test_section_5_4_1_the_connection_is_closed_behind_its_goaway(client):
    client.send(frame(Kind.PING, 0, 0, b""))
    await client.end()
    assert client.frames[-1].kind == Kind.GOAWAY
    assert len(client.of(Kind.GOAWAY)) == 1
    assert client.frames[-1].payload[8:], "it says in words what was wrong"


async def test_section_5_4_1_nothing_behind_the_error_is_read(client, worker, until):
    before = len(worker.calls)
    client.send(frame(Kind.PING, 0, 0, b""), client.request(NEW, end=True))
    await client.end()
    assert len(worker.calls) == before


@SERVED
async def test_section_5_4_2_a_stream_error_is_that_streams_only(client):
    client.send(client.request(NEW, end=False), client.request(NEW + 2, end=False))
    client.send(wire.window_update(NEW, 0))
    assert await client.stream_error(NEW) == PROTOCOL
    await client.alive()
    assert {each.stream for each in client.of(Kind.RST_STREAM)} == {NEW}
