"""Stateless HPACK, against the `hpack` library as the reference."""

from __future__ import annotations

from contextlib import suppress

import hpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from torpor_router.h2.blocks import HeaderLimits, StatefulDecoder, encode, literal, split
from torpor_router.h2.faults import ConnectionFault, TooManyFields
from torpor_router.h2.wire import ErrorCode

LIMIT = 1 << 20
LIMITS = HeaderLimits(LIMIT, 20_000)

names = st.one_of(
    st.sampled_from([b":method", b":path", b"accept", b"te", b"grpc-timeout", b"user-agent"]),
    st.binary(min_size=1, max_size=40),
)
values = st.one_of(
    st.sampled_from([b"", b"GET", b"POST", b"/", b"trailers"]), st.binary(max_size=300)
)
lists = st.lists(st.tuples(names, values), max_size=30)


def reference(fields, *, huffman, never_indexed=False):
    encoder = hpack.Encoder()
    encoder.header_table_size = 0
    return encoder.encode([(n, v, never_indexed) for n, v in fields], huffman=huffman)


@given(lists, st.booleans(), st.booleans())
def test_reads_what_any_encoder_without_a_table_writes(fields, huffman, never_indexed):
    block = reference(fields, huffman=huffman, never_indexed=never_indexed)
    read = split(block, LIMITS, {})
    assert [(field.name, field.value) for field in read] == fields


@given(lists, st.booleans(), st.data())
def test_cutting_fields_out_leaves_the_others_as_they_were(fields, huffman, data):
    read = split(reference(fields, huffman=huffman), LIMITS, {})
    kept = [field for field in read if data.draw(st.booleans())]
    block = b"".join(field.wire for field in kept)
    again = hpack.Decoder(max_header_list_size=LIMIT).decode(block, raw=True)
    assert again == [(field.name, field.value) for field in kept]


@given(lists)
def test_writes_what_any_decoder_reads(fields):
    assert hpack.Decoder(max_header_list_size=LIMIT).decode(encode(fields), raw=True) == fields


@pytest.mark.parametrize("size", [0, 1, 126, 127, 128, 254, 255, 256, 20_000, 70_000])
def test_lengths_around_the_edges_of_an_integer(size):
    block = literal(b"n", b"v" * size)
    assert split(block, LIMITS, {})[0].value == b"v" * size
    assert hpack.Decoder(max_header_list_size=LIMIT).decode(block, raw=True)[0][1] == b"v" * size  # type: ignore[index]


@given(st.lists(lists, max_size=6), st.booleans())
def test_a_dynamic_table_becomes_stateless(blocks, huffman):
    encoder, decoder = hpack.Encoder(), StatefulDecoder(LIMITS)
    for fields in blocks:
        read = decoder.split(encoder.encode(fields, huffman=huffman))
        assert [(field.name, field.value) for field in read] == fields
        alone = b"".join(field.wire for field in read)
        assert [(f.name, f.value) for f in split(alone, LIMITS, {})] == fields


@given(st.binary(max_size=200))
@example(b"\xff\xff\xff\xff\xff\xff\xff")
@example(b"\x00\x85")
def test_noise_is_read_or_refused_and_nothing_else(noise):
    with suppress(ConnectionFault):
        split(noise, LIMITS, {})


@pytest.mark.parametrize(
    ("block", "why"),
    [
        (b"\x80", "index 0"),
        (b"\xbe", "the first index of a dynamic table"),
        (b"\x7e\x00", "a name out of a dynamic table"),
        (b"\x3f\xe1\x1f", "a table of 4096 after it was set to 0"),
        (b"\x82\x20", "a table size update behind a field"),
        (b"\x00\x01a\x7f\xff\xff\xff\xff\x7f", "an integer over 2^32"),
        (b"\x00\x05ab", "a string that runs over the end"),
        (b"\x00\x81\xff\x00", "Huffman padding of eight bits"),
        (b"\x00", "no name"),
    ],
)
def test_blocks_that_are_broken(block, why):
    with pytest.raises(ConnectionFault) as refused:
        split(block, LIMITS, {})
    assert refused.value.code is ErrorCode.COMPRESSION_ERROR, why


def test_a_table_of_size_zero_may_be_said_at_the_start():
    assert split(b"\x20\x82", LIMITS, {})[0].value == b"GET"


def test_a_small_block_may_not_unpack_to_a_large_list():
    bomb = b"\x90" * 20_000  # accept-encoding: gzip, deflate, in one octet
    with pytest.raises(TooManyFields):
        split(bomb, HeaderLimits(128 * 1024, 20_000), {})


def test_a_bomb_in_the_dynamic_table():
    encoder = hpack.Encoder()
    first = encoder.encode([(b"x", b"y" * 4_000)])
    decoder = StatefulDecoder(HeaderLimits(64 * 1024, 200))
    decoder.split(first)
    with pytest.raises(ConnectionFault) as refused:
        decoder.split(b"\xbe" * 10_000)
    assert refused.value.code is ErrorCode.ENHANCE_YOUR_CALM
