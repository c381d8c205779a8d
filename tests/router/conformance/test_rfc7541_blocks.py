"""RFC 7541: header blocks that cannot be read end the connection with COMPRESSION_ERROR."""

from __future__ import annotations

import hpack
import pytest
from doorkit.frames import GREETING, fields

from torpor_router.h2 import wire
from torpor_router.h2.blocks import encode
from torpor_router.h2.wire import PREFACE, ErrorCode, Kind, frame, settings

NEW = 3  # the stream that the fixture leaves as the next one
BLOCK = encode(fields())


def case(section, what, block):
    return pytest.param(block, id=f"{section} {what}")


UNREADABLE = [
    case("2.3.3", "an index behind both tables", b"\xc0"),
    case("2.3.3", "a name's index behind both tables", b"\x7f\x10\x01x"),
    case("4.2", "a table size update behind a field", BLOCK + b"\x20"),
    case("5.1", "an integer that never ends", b"\xff" + b"\x80" * 12),
    case("5.1", "an integer of 2^35", b"\xff\x80\x80\x80\x80\x80\x01"),
    case("5.2", "a string behind the end", b"\x00\x05ab"),
    case("5.2", "Huffman padding of over 7 bits", b"\x00\x01x\x82\x1f\xff"),
    case("5.2", "Huffman padding that is not ones", b"\x00\x01x\x81\x18"),
    case("5.2", "Huffman with EOS in it", b"\x00\x01x\x84\xff\xff\xff\xfc"),
    case("6.1", "index 0", b"\x80"),
    case("6.3", "a table size over what was granted", b"\x3f\xe1\xff\x03" + BLOCK),
    case("6", "a block that ends inside a field", BLOCK[:-3]),
]


@pytest.mark.parametrize("block", UNREADABLE)
async def test_cannot_be_read(client, worker, block):
    before = len(worker.calls)
    client.send(wire.headers(NEW, block, end_stream=True))
    assert await client.connection_error() == ErrorCode.COMPRESSION_ERROR
    assert len(worker.calls) == before


@pytest.mark.parametrize("block", UNREADABLE[:-1])
async def test_cannot_be_read_before_our_settings_are_acknowledged(connected, block):
    """Until then the client may use a dynamic table, and another decoder reads its blocks."""
    client = await connected(greet=False)
    client.send(PREFACE, settings(()), wire.headers(1, block, end_stream=True))
    assert await client.connection_error() == ErrorCode.COMPRESSION_ERROR


async def test_section_4_2_a_table_that_was_taken_away(connected):
    """After the acknowledgement an entry of before is no entry any more."""
    client = await connected(greet=False)
    encoder = hpack.Encoder()
    pairs = fields()
    client.send(PREFACE, settings(()))
    client.send(wire.headers(1, encoder.encode(pairs), end_stream=True))
    again = encoder.encode(pairs)
    assert any(octet >= 0xC0 for octet in again), "it refers to the dynamic table"
    client.send(wire.headers(3, again, end_stream=True))
    for stream in (1, 3):
        assert (await client.response(stream))[b"grpc-status"] == b"0"
    client.send(wire.SETTINGS_ACK, wire.headers(5, again, end_stream=True))
    assert await client.connection_error() == ErrorCode.COMPRESSION_ERROR


async def test_section_6_2_every_form_of_a_literal(connected, worker):
    """Indexed, with incremental indexing, without, never; names by index and by themselves."""
    client = await connected()
    forms = (b"\x40", b"\x00", b"\x10")
    block = encode(fields()) + b"".join(
        form + b"\x03x-%d" % n + b"\x01v" for n, form in enumerate(forms)
    )
    client.send(wire.headers(1, block, end_stream=True))
    assert (await client.response(1))[b"grpc-status"] == b"0"
    assert [worker.metadata[0][f"x-{n}"] for n in range(3)] == ["v"] * 3


async def test_section_6_3_a_size_of_0_may_be_told(connected):
    client = await connected(greet=False)
    client.send(GREETING, frame(Kind.HEADERS, 5, 1, b"\x20" + BLOCK))
    assert (await client.response(1))[b"grpc-status"] == b"0"
