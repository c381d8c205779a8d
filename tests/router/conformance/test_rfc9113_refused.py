"""RFC 9113 sections 5.1 and 6.1 for a stream that the door itself has answered.

To the client it is half-closed until it has read the answer. What it sends in good faith until
then is dropped and given back; what no client may send is an error as on any other stream.
"""

from __future__ import annotations

import pytest
from doorkit.frames import fields

from torpor_router.h2 import wire
from torpor_router.h2.wire import END_STREAM, PADDED, ErrorCode, Kind, frame

PROTOCOL, CLOSED = ErrorCode.PROTOCOL_ERROR, ErrorCode.STREAM_CLOSED
REFUSED, NEXT = 5, 7  # streams
NAMELESS = fields(satellite=b"")
NO_GRPC = tuple(
    (name, b"text/html" if name == b"content-type" else value) for name, value in fields()
)
TRAILERS = wire.headers(REFUSED, b"\x00\x01x\x011", end_stream=True)
KINDS = [
    pytest.param((NAMELESS, b"TPR-1001"), id="refused-TPR-1001"),
    pytest.param((NO_GRPC, b"TPR-1007"), id="refused-415"),
]


@pytest.fixture(params=KINDS)
async def refuse(request, connected):
    """Open stream 5, wholly sent or not, and wait for its refusal."""
    pairs, code = request.param

    async def done(*, end):
        client = await connected()
        client.send(client.request(REFUSED, pairs, end=end))
        assert (await client.response(REFUSED))[b"x-torpor-code"] == code
        await client.alive()
        assert [wire.u32(each.payload, 0) for each in client.of(Kind.RST_STREAM)] == (
            [] if end else [ErrorCode.NO_ERROR]
        )
        client.frames.clear()
        return client

    return done


async def test_section_5_1_ended_then_headers(refuse):
    client = await refuse(end=True)
    client.send(client.request(REFUSED, end=True))
    assert await client.connection_error() == CLOSED


async def test_section_5_1_ended_then_data(refuse):
    client = await refuse(end=True)
    client.send(frame(Kind.DATA, 0, REFUSED, b"more"))
    assert await client.connection_error() == CLOSED


async def test_section_5_1_ended_by_data_then_data(refuse):
    client = await refuse(end=False)
    client.send(frame(Kind.DATA, END_STREAM, REFUSED, b"last"))
    await client.alive()
    client.send(frame(Kind.DATA, END_STREAM, REFUSED, b"more"))
    assert await client.connection_error() == CLOSED


async def test_section_5_1_ended_by_trailers_then_headers(refuse):
    client = await refuse(end=False)
    client.send(TRAILERS)
    await client.alive()
    client.send(TRAILERS)
    assert await client.connection_error() == CLOSED


@pytest.mark.parametrize("then", ["DATA", "HEADERS"])
async def test_section_5_1_reset_by_the_client_then(refuse, then):
    client = await refuse(end=False)
    client.send(wire.rst_stream(REFUSED, ErrorCode.CANCEL))
    await client.alive()
    if then == "DATA":
        client.send(frame(Kind.DATA, 0, REFUSED, b"more"))
        assert await client.stream_error(REFUSED) == CLOSED
        await client.alive()
    else:
        client.send(client.request(REFUSED, end=True))
        assert await client.connection_error() == CLOSED


@pytest.mark.parametrize("end", [True, False], ids=["ended", "not ended"])
@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(wire.window_update(REFUSED, 1), id="WINDOW_UPDATE"),
        pytest.param(frame(Kind.PRIORITY, 0, REFUSED, bytes(5)), id="PRIORITY"),
        pytest.param(wire.rst_stream(REFUSED, ErrorCode.CANCEL), id="RST_STREAM"),
    ],
)
async def test_section_5_1_what_may_come(refuse, octets, end):
    client = await refuse(end=end)
    client.send(octets)
    await client.alive()
    assert not client.of(Kind.RST_STREAM)


@pytest.mark.parametrize("end", [True, False], ids=["ended", "not ended"])
async def test_section_5_1_continuation(refuse, end):
    client = await refuse(end=end)
    client.send(frame(Kind.CONTINUATION, 4, REFUSED, b""))
    assert await client.connection_error() == PROTOCOL


@pytest.mark.parametrize("lower", [1, 3])
async def test_section_5_1_1_a_lower_stream(refuse, lower):
    client = await refuse(end=True)
    client.send(client.request(lower, end=True))
    assert await client.connection_error() == PROTOCOL


@pytest.mark.parametrize("end", [True, False], ids=["ended", "not ended"])
async def test_section_6_1_padding_as_long_as_the_data(refuse, end):
    client = await refuse(end=end)
    client.send(frame(Kind.DATA, PADDED, REFUSED, b"\x06" + bytes(5)))
    assert await client.connection_error() == PROTOCOL


async def test_section_6_9_what_was_under_way_is_given_back(refuse):
    """More than a connection's window; and the connection serves its next request."""
    client = await refuse(end=False)
    whole, sent = 16_384, 0
    for number in range(8):
        flags = END_STREAM if number == 7 else 0
        client.send(frame(Kind.DATA, flags, REFUSED, bytes(whole)))
        sent += whole
        await client.alive()
        assert sum(wire.u32(each.payload, 0) for each in client.of(Kind.WINDOW_UPDATE, 0)) == sent
    assert not client.of(Kind.RST_STREAM)
    client.send(client.request(NEXT, path=b"/t.T/Both", end=True))
    assert (await client.response(NEXT))[b"grpc-status"] == b"0"


async def test_section_8_1_headers_between_without_end_stream(refuse):
    client = await refuse(end=False)
    client.send(client.request(REFUSED, end=False))
    assert await client.connection_error() == PROTOCOL
