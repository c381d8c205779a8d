"""RFC 9113 sections 3.4, 4 and 6: the preface, frames, and what each kind of frame may be."""

from __future__ import annotations

import pytest
from doorkit.fakes import satellite_id
from doorkit.frames import FrameClient, fields, message

from torpor_router.h2 import wire
from torpor_router.h2.blocks import encode
from torpor_router.h2.wire import (
    ACK,
    END_HEADERS,
    END_STREAM,
    PADDED,
    PREFACE,
    PRIORITIZED,
    SETTINGS_ACK,
    ErrorCode,
    Kind,
    Setting,
    frame,
)

PROTOCOL, SIZE = ErrorCode.PROTOCOL_ERROR, ErrorCode.FRAME_SIZE_ERROR
FLOW, COMPRESSION = ErrorCode.FLOW_CONTROL_ERROR, ErrorCode.COMPRESSION_ERROR
OPEN, NEW = 1, 3  # streams: as the fixture leaves them
SERVED = pytest.mark.parametrize("stage", ["waiting", "paired"])
BLOCK = encode(fields())
SECOND = satellite_id("acme/two")
U32 = (1).to_bytes(4, "big")
TOP_BIT = 1 << 31


def case(section, what, code, *octets):
    return pytest.param(code, b"".join(octets), id=f"{section} {what}")


CONNECTION_ERRORS = [
    # 4.2: a frame over SETTINGS_MAX_FRAME_SIZE
    case("4.2", "HEADERS over the maximum", SIZE, frame(Kind.HEADERS, 4, NEW, bytes(70_000))),
    case("4.2", "DATA over the maximum", SIZE, frame(Kind.DATA, 0, OPEN, bytes(70_000))),
    case("4.2", "SETTINGS over the maximum", SIZE, frame(Kind.SETTINGS, 0, 0, bytes(70_002))),
    # 4.3: header blocks are one unit
    case("4.3", "a block that cannot be read", COMPRESSION,
         frame(Kind.HEADERS, 5, NEW, b"\xff" * 9)),
    case("4.3", "PRIORITY inside a block", PROTOCOL,
         frame(Kind.HEADERS, 0, NEW, BLOCK), frame(Kind.PRIORITY, 0, NEW, bytes(5))),
    case("4.3", "another stream's HEADERS inside a block", PROTOCOL,
         frame(Kind.HEADERS, 0, NEW, BLOCK), frame(Kind.HEADERS, 5, NEW + 2, BLOCK)),
    case("5.5", "an unknown frame inside a block", PROTOCOL,
         frame(Kind.HEADERS, 0, NEW, BLOCK), frame(0xEE, 0, NEW)),
    # 6.1 DATA
    case("6.1", "DATA on stream 0", PROTOCOL, frame(Kind.DATA, 0, 0, b"x")),
    case("6.1", "padding as long as the DATA", PROTOCOL,
         frame(Kind.DATA, PADDED, OPEN, b"\x06" + bytes(5))),
    case("6.1", "PADDED DATA without a pad length", SIZE, frame(Kind.DATA, PADDED, OPEN)),
    # 6.2 HEADERS
    case("6.2", "HEADERS on stream 0", PROTOCOL, frame(Kind.HEADERS, 5, 0, BLOCK)),
    case("6.2", "padding as long as the HEADERS", PROTOCOL,
         frame(Kind.HEADERS, 5 | PADDED, NEW, b"\x7f" + bytes(20))),
    case("6.2", "PADDED HEADERS without a pad length", SIZE,
         frame(Kind.HEADERS, 5 | PADDED, NEW)),
    case("6.2", "HEADERS too short for their priority", SIZE,
         frame(Kind.HEADERS, 5 | PRIORITIZED, NEW, bytes(4))),
    # 6.3 PRIORITY
    case("6.3", "PRIORITY on stream 0", PROTOCOL, frame(Kind.PRIORITY, 0, 0, bytes(5))),
    case("6.3", "PRIORITY of 4 octets", SIZE, frame(Kind.PRIORITY, 0, OPEN, bytes(4))),
    # 6.4 RST_STREAM
    case("6.4", "RST_STREAM on stream 0", PROTOCOL, frame(Kind.RST_STREAM, 0, 0, bytes(4))),
    case("6.4", "RST_STREAM on an idle stream", PROTOCOL, frame(Kind.RST_STREAM, 0, NEW, bytes(4))),
    case("6.4", "RST_STREAM of 3 octets", SIZE, frame(Kind.RST_STREAM, 0, OPEN, bytes(3))),
    # 6.5 SETTINGS
    case("6.5", "an acknowledgement with a payload", SIZE, frame(Kind.SETTINGS, ACK, 0, bytes(6))),
    case("6.5", "SETTINGS on a stream", PROTOCOL, frame(Kind.SETTINGS, 0, OPEN, bytes(6))),
    case("6.5", "SETTINGS of 5 octets", SIZE, frame(Kind.SETTINGS, 0, 0, bytes(5))),
    case("6.5.2", "ENABLE_PUSH of 2", PROTOCOL, wire.settings([(Setting.ENABLE_PUSH, 2)])),
    case("6.5.2", "INITIAL_WINDOW_SIZE of 2^31", FLOW,
         wire.settings([(Setting.INITIAL_WINDOW_SIZE, TOP_BIT)])),
    case("6.5.2", "MAX_FRAME_SIZE of 16383", PROTOCOL,
         wire.settings([(Setting.MAX_FRAME_SIZE, 16_383)])),
    case("6.5.2", "MAX_FRAME_SIZE of 2^24", PROTOCOL,
         wire.settings([(Setting.MAX_FRAME_SIZE, 1 << 24)])),
    # 6.6 PUSH_PROMISE
    case("6.6", "PUSH_PROMISE from a client", PROTOCOL,
         frame(Kind.PUSH_PROMISE, 4, OPEN, (2).to_bytes(4, "big") + BLOCK)),
    # 6.7 PING
    case("6.7", "PING on a stream", PROTOCOL, frame(Kind.PING, 0, OPEN, bytes(8))),
    case("6.7", "PING of 7 octets", SIZE, frame(Kind.PING, 0, 0, bytes(7))),
    case("6.7", "PING of 9 octets", SIZE, frame(Kind.PING, 0, 0, bytes(9))),
    # 6.8 GOAWAY
    case("6.8", "GOAWAY on a stream", PROTOCOL, frame(Kind.GOAWAY, 0, OPEN, bytes(8))),
    case("6.8", "GOAWAY of 7 octets", SIZE, frame(Kind.GOAWAY, 0, 0, bytes(7))),
    # 6.9 WINDOW_UPDATE
    case("6.9", "WINDOW_UPDATE of 0", PROTOCOL, wire.window_update(0, 0)),
    case("6.9", "WINDOW_UPDATE of 5 octets", SIZE, frame(Kind.WINDOW_UPDATE, 0, 0, bytes(5))),
    case("6.9", "WINDOW_UPDATE on an idle stream", PROTOCOL, wire.window_update(NEW, 1)),
    # 6.10 CONTINUATION
    case("6.10", "CONTINUATION on stream 0", PROTOCOL, frame(Kind.CONTINUATION, 4, 0, b"")),
    case("6.10", "CONTINUATION without HEADERS", PROTOCOL, frame(Kind.CONTINUATION, 4, OPEN, b"")),
    case("6.10", "CONTINUATION behind END_HEADERS", PROTOCOL,
         frame(Kind.HEADERS, END_HEADERS | END_STREAM, NEW, BLOCK),
         frame(Kind.CONTINUATION, END_HEADERS, NEW, b"")),
    case("6.10", "CONTINUATION behind a finished one", PROTOCOL,
         frame(Kind.HEADERS, END_STREAM, NEW, BLOCK[:9]),
         frame(Kind.CONTINUATION, END_HEADERS, NEW, BLOCK[9:]),
         frame(Kind.CONTINUATION, END_HEADERS, NEW, b"")),
    case("6.10", "CONTINUATION behind DATA", PROTOCOL,
         frame(Kind.DATA, 0, OPEN, b"x"), frame(Kind.CONTINUATION, 4, OPEN, b"")),
    case("6.10", "CONTINUATION of another stream", PROTOCOL,
         frame(Kind.HEADERS, 0, NEW, BLOCK[:9]), frame(Kind.CONTINUATION, 4, NEW + 2, BLOCK[9:])),
]  # fmt: skip


@pytest.mark.parametrize(("code", "octets"), CONNECTION_ERRORS)
async def test_ends_the_connection(client, code, octets):
    client.send(octets)
    assert await client.connection_error() == code


IGNORED = [
    case("4.1", "the reserved bit of a stream id", None,
         wire.pack_header(8 << 8 | Kind.PING, 0, TOP_BIT) + bytes(8)),
    case("5.1", "PRIORITY on an idle stream", None, frame(Kind.PRIORITY, 0, 99, bytes(5))),
    case("5.5", "a frame of an unknown kind", None, frame(0xEE, 0xFF, 0, b"extension")),
    case("5.5", "such a frame on a stream", None, frame(0xEE, 0, OPEN, b"extension")),
    case("6.5.2", "an unknown setting", None, wire.settings([(0xFFFF, 7)])),
    case("6.5.3", "an empty SETTINGS", None, wire.settings(())),
    case("6.7", "an answer to no PING", None, frame(Kind.PING, ACK, 0, b"answered")),
    case("6.9", "the reserved bit of an increment", None,
         frame(Kind.WINDOW_UPDATE, 0, 0, (TOP_BIT + 9).to_bytes(4, "big"))),
    case("7", "RST_STREAM with an unknown code", None,
         frame(Kind.RST_STREAM, 0, OPEN, b"\0\0\0\xff")),
]  # fmt: skip


@pytest.mark.parametrize(("code", "octets"), IGNORED)
async def test_is_ignored(client, code, octets):
    client.send(octets)
    await client.alive()
    assert not client.of(Kind.GOAWAY)
    assert not client.of(Kind.RST_STREAM)


@pytest.mark.parametrize("stage", ["waiting"])
async def test_section_4_1_an_undefined_flag(client):
    """(C-core, our worker here, ends its connection for one; once paired, flags pass.)"""
    client.send(frame(Kind.PING, 0xFE, 0, b"flagged."))
    await client.alive()
    assert b"flagged." in {each.payload for each in client.of(Kind.PING)}


async def test_section_3_4_the_door_speaks_first(connected):
    """It does not wait for its satellite, nor even for a request."""
    client = await connected()
    first = await client.first(Kind.SETTINGS)
    assert client.frames[0] == first
    assert not first.flags & ACK
    await client.first(Kind.SETTINGS, flags=ACK)


@pytest.mark.parametrize(
    "preface",
    [PREFACE[:-1] + b"X", b"PRI * HTTP/2.0\r\n\r\nSN\r\n\r\n", b"\0" * 24, b"\x16\x03\x01" * 8],
    ids=["a wrong end", "a wrong middle", "zeros", "TLS"],
)
async def test_section_3_4_another_preface(connected, preface):
    client = await connected(greet=False)
    client.send(preface)
    assert await client.connection_error() == PROTOCOL


@pytest.mark.parametrize(
    "first", [frame(Kind.PING, 0, 0, bytes(8)), SETTINGS_ACK], ids=["PING", "an acknowledgement"]
)
async def test_section_3_4_another_first_frame(connected, first):
    client = await connected(greet=False)
    client.send(PREFACE, first)
    assert await client.connection_error() == PROTOCOL


@SERVED
async def test_section_4_2_data_of_the_largest_size(client: FrameClient, worker, stage, house):
    if stage == "waiting":
        house.gate.awake[SECOND].set()
        await client.first(Kind.SETTINGS, flags=ACK)
    client.send(frame(Kind.DATA, END_STREAM, OPEN, message(bytes(16_384 - 5))))
    assert (await client.response(OPEN))[b"grpc-status"] == b"0"


@pytest.mark.parametrize("stage", ["waiting"])
async def test_section_6_1_padding_is_no_content(client, house):
    """(C-core, our worker here, takes no padded DATA at all: once paired it would refuse it.)"""
    padded = b"\x07" + message(b"padded") + bytes(7)
    client.send(frame(Kind.DATA, PADDED | END_STREAM, OPEN, padded))
    house.gate.awake[SECOND].set()
    assert (await client.response(OPEN))[b"grpc-status"] == b"0"
    assert b"".join(each.payload for each in client.of(Kind.DATA, OPEN)) == message(b"deddap")


@pytest.mark.parametrize(
    "flags", [PADDED, PRIORITIZED, PADDED | PRIORITIZED], ids=["padded", "prioritized", "both"]
)
@pytest.mark.parametrize("pieces", [1, 2, 7], ids=["whole", "in two", "in seven"])
async def test_section_6_2_and_6_10_the_forms_of_a_block(connected, worker, until, flags, pieces):
    """Padding, priority and any number of CONTINUATIONs, none of them empty or all of them."""
    client = await connected()
    block = client.block()
    size = -(-len(block) // pieces)
    parts = [block[at : at + size] for at in range(0, len(block), size)]
    pad = b"\x05" if flags & PADDED else b""
    first = pad + (bytes(5) if flags & PRIORITIZED else b"") + parts[0] + bytes(5 if pad else 0)
    last = END_HEADERS if pieces == 1 else 0
    client.send(frame(Kind.HEADERS, flags | END_STREAM | last, 1, first))
    for number, part in enumerate(parts[1:], start=2):
        last = END_HEADERS if number == len(parts) else 0
        client.send(frame(Kind.CONTINUATION, 0, 1), frame(Kind.CONTINUATION, last, 1, part))
    assert (await client.response(1))[b"grpc-status"] == b"0"
    assert worker.calls == ["/t.T/Both"]


async def test_section_6_5_3_every_settings_is_acknowledged(client):
    before = len([each for each in client.of(Kind.SETTINGS) if each.flags & ACK])
    client.send(wire.settings([(Setting.INITIAL_WINDOW_SIZE, 70_000)]) * 3)
    await client.alive()
    after = len([each for each in client.of(Kind.SETTINGS) if each.flags & ACK])
    assert after - before == 3


async def test_section_6_7_a_pings_answer_has_its_payload(client):
    client.send(frame(Kind.PING, 0, 0, b"12345678"))
    answer = await client.first(Kind.PING, flags=ACK)
    await client.alive()
    assert b"12345678" in {each.payload for each in client.of(Kind.PING)}
    assert answer.stream == 0


async def test_section_6_9_1_the_connections_window_overflows(connected):
    client = await connected()
    client.send(wire.window_update(0, (1 << 31) - 1))
    assert await client.connection_error() == FLOW


async def test_section_6_9_1_a_waiting_streams_window_overflows(house, connected, until):
    client = await connected()
    client.satellite = b"acme/two"
    client.send(client.request(1, end=False))
    client.send(wire.window_update(1, 1 << 30), wire.window_update(1, (1 << 31) - 1))
    assert await client.stream_error(1) == FLOW
    await client.alive()
    assert not house.gate.waiting


@SERVED
async def test_section_6_9_window_update_of_0_on_a_stream(client):
    client.send(wire.window_update(OPEN, 0))
    assert await client.stream_error(OPEN) == PROTOCOL
    await client.alive()


async def test_section_6_9_1_the_worker_keeps_to_the_clients_window(connected):
    client = await connected()
    client.send(wire.settings([(Setting.INITIAL_WINDOW_SIZE, 1)]))
    client.send(client.request(1, end=False))
    client.send(frame(Kind.DATA, END_STREAM, 1, message(b"abc")))
    await client.first(Kind.DATA, 1)
    await client.alive()
    assert [len(each.payload) for each in client.of(Kind.DATA, 1)] == [1]
    client.send(wire.window_update(1, 100))
    assert (await client.response(1))[b"grpc-status"] == b"0"
    assert b"".join(each.payload for each in client.of(Kind.DATA, 1)) == message(b"cba")


async def test_section_6_9_2_a_window_that_becomes_negative(connected):
    """SETTINGS shrink the open stream's window below what was already sent on it."""
    client = await connected()
    client.send(wire.settings([(Setting.INITIAL_WINDOW_SIZE, 3)]))
    client.send(client.request(1, end=False), frame(Kind.DATA, END_STREAM, 1, message(b"abc")))
    await client.first(Kind.DATA, 1)
    client.send(wire.settings([(Setting.INITIAL_WINDOW_SIZE, 2)]), wire.window_update(1, 1))
    await client.alive()
    assert sum(len(each.payload) for each in client.of(Kind.DATA, 1)) == 3
    client.send(wire.window_update(1, 1))
    await client.alive()
    client.send(wire.window_update(1, 100))
    assert (await client.response(1))[b"grpc-status"] == b"0"


@SERVED
async def test_section_6_8_no_stream_is_served_behind_our_goaway(client, worker, stage):
    """The last stream of GOAWAY tells which may be retried."""
    client.send(frame(Kind.PING, 0, 1, bytes(8)))
    assert await client.connection_error() == PROTOCOL
    assert wire.u32(client.of(Kind.GOAWAY)[-1].payload, 0) == OPEN
    assert worker.calls == ([] if stage == "waiting" else ["/t.T/Both"])
