"""Huffman strings that are not decoded, against the library that decodes them."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hpack.exceptions import HPACKError
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hpack.huffman_table import decode_huffman
from hypothesis import example, given
from hypothesis import strategies as st

from torpor_router.h2.fields import bad_value
from torpor_router.h2.huffman import common_start, decode, is_sound

encode = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH).encode
texts = st.lists(st.sampled_from([*b" \t\0\r\nabcXYZ09~\xff"]), max_size=8).map(bytes)


def by_decoding(octets):
    with suppress(HPACKError):
        value = decode_huffman(octets)
        return not bad_value(value) and b"\t" not in value
    return False


@given(
    st.one_of(st.binary(max_size=8), st.lists(st.sampled_from([0xFF, 0xFE, 0x53, 0xA0])).map(bytes))
)
@example(b"")
@example(b"\xff")
@example(b"\x53")  # a space and padding
@example(b"\xff\xff\xff\xff")  # EOS
def test_octets_of_any_kind(octets):
    assert is_sound(octets) == by_decoding(octets)


@given(texts)
@example(b" ")
@example(b"a ")
@example(b" a")
@example(b"a b")
@example(b"\xf9 ")
def test_texts_of_any_kind(text):
    assert is_sound(encode(text)) == by_decoding(encode(text))


@pytest.mark.parametrize("octet", range(256))
def test_each_octet_alone_and_at_each_place(octet):
    for text in (bytes((octet,)), b"a%ca" % octet, b"a%c" % octet, b"%ca" % octet):
        assert is_sound(encode(text)) == by_decoding(encode(text))


@given(st.binary(max_size=20), st.binary(max_size=20))
def test_what_begins_alike_is_coded_alike(start, rest):
    assert encode(start + rest).startswith(common_start(start))


def decoded_by_library(octets):
    with suppress(HPACKError):
        return decode_huffman(octets)
    return None


@given(st.binary(max_size=30))
@example(b"")
@example(b"\xff")
@example(b"\xff\xff\xff\xff")
@example(b"\x00\xff\xff")
def test_octets_of_any_kind_are_decoded_as_the_library_does(octets):
    assert decode(octets) == decoded_by_library(octets)


@given(st.binary(max_size=100))
def test_texts_of_any_kind_come_back(text):
    assert decode(encode(text)) == text
