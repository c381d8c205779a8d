"""What decides, found without decoding: never another answer than decoding gives."""

from __future__ import annotations

from typing import Any

import hpack
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from torpor_router.h2.blocks import TABLE_SIZE_ZERO, HeaderLimits, encode, split
from torpor_router.h2.faults import ConnectionFault, StreamFault, TooManyFields
from torpor_router.h2.outline import OutlineReader
from torpor_router.h2.requests import check_request

LIMITS = HeaderLimits(64 * 1024, 200)
PATHS = (b"/node.", b"/build.bazel.remote.")
CUT = (b"authorization", b"satellite")
GOOD = (
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", b"/a.B/C"),
    (b":authority", b"x"),
    (b"content-type", b"application/grpc"),
    (b"te", b"trailers"),
    (b"satellite", b"acme/one"),
    (b"authorization", b"Bearer t"),
)


def reader():
    return OutlineReader(
        deciding=(b"content-type",), cut=CUT, never=(b"access-control-request-method",), paths=PATHS
    )


def read(*fields, huffman=False):
    return reader().read(coded(fields, huffman=huffman), LIMITS)


def coded(fields, *, huffman=False, secret=False):
    encoder = hpack.Encoder()
    encoder.header_table_size = 0
    block = encoder.encode([(n, v, secret) for n, v in fields], huffman=huffman)
    return block.removeprefix(TABLE_SIZE_ZERO)


def same_key(*fields, huffman=False):
    found = read(*fields, huffman=huffman)
    return found is not None and found.key == read(*GOOD, huffman=huffman).key


@pytest.mark.parametrize("huffman", [False, True])
def test_what_does_not_decide_makes_no_difference(huffman):
    for more in (
        (b"traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        (b"grpc-timeout", b"5S"),
        (b"cookie", b"AWSALB=abc"),
        (b"x-bin", b"AAEC"),
        (b"accept-encoding", b"gzip, deflate"),
        (b"long", b"v" * 5_000),
    ):
        assert same_key(*GOOD, more, huffman=huffman), more
    assert same_key(*GOOD[:2], (b":path", b"/other/Path?n=1"), *GOOD[3:], huffman=huffman)


@pytest.mark.parametrize("huffman", [False, True])
def test_what_decides_makes_one(huffman):
    for place, (name, _) in enumerate(GOOD):
        if name in (b"te", b":path"):
            continue
        other = (*GOOD[:place], (name, b"other"), *GOOD[place + 1 :])
        assert read(*other, huffman=huffman) is not None
        assert not same_key(*other, huffman=huffman), name
        assert not same_key(*GOOD[:place], *GOOD[place + 1 :], huffman=huffman), name
    assert not same_key(*GOOD, GOOD[-1], huffman=huffman)
    for path in (b"/node.S/M", b"/build.bazel.remote.Cas/Find"):
        found = read(*GOOD[:2], (b":path", path), *GOOD[3:], huffman=huffman)
        assert found.key != read(*GOOD, huffman=huffman).key
        assert found.key != read(*GOOD[:2], (b":path", path + b"x"), *GOOD[3:], huffman=huffman).key


@pytest.mark.parametrize("huffman", [False, True])
@pytest.mark.parametrize(
    "fields",
    [
        (*GOOD, (b"Upper", b"x")),
        (*GOOD, (b"", b"x")),
        (*GOOD, (b"x", b"a\nb")),
        (*GOOD, (b"x", b"a\0b")),
        (*GOOD, (b"x", b" lead")),
        (*GOOD, (b"x", b"trail ")),
        (*GOOD, (b"cookie", b"trail ")),
        (*GOOD, (b"connection", b"close")),
        (*GOOD, (b"te", b"gzip")),
        (*GOOD, (b":method", b"POST")),
        (*GOOD, (b":path", b"/a")),
        (*GOOD[:4], (b":status", b"200"), *GOOD[4:]),
        (*GOOD[:4], (b":protocol", b"websocket"), *GOOD[4:]),
        (*GOOD[:2], (b":path", b""), *GOOD[3:]),
        (*GOOD[:2], (b":path", b"/\n"), *GOOD[3:]),
        (*GOOD[:2], (b":path", b"/ "), *GOOD[3:]),
        (*GOOD, (b"access-control-request-method", b"POST")),
    ],
)
def test_what_may_not_stand_there_is_left_to_decoding(fields, huffman):
    assert read(*fields, huffman=huffman) is None


@pytest.mark.parametrize(
    "block",
    [
        b"\x80",
        b"\xff",
        b"\xbe",
        b"\x7e\x00",
        b"\x0f\x80",
        b"\x20",
        b"\x3f\xe1\x1f",
        b"\x00\x01a\x7f\xff\xff\xff\x7f",
        b"\x00\x01a\x05bb",
        b"\x00\x05ab",
        b"\x00\x01a\x81\x00",
        b"\x00\x81\xff\x01x",
        b"\x00\x7f\x00",
        b"\x00",
        b"\x00\x01a",
        b"\x00\x01a\x7f",
        b"\x00\x01a\x7f\x80",
    ],
)
def test_broken_blocks_are_left_to_decoding(block):
    assert reader().read(encode(GOOD) + block, LIMITS) is None


def test_large_lists_are_left_to_decoding():
    assert read(*GOOD, *[(b"x", b"y")] * 192) is not None
    assert read(*GOOD, *[(b"x", b"y")] * 193) is None
    assert reader().read(coded(GOOD), HeaderLimits(500, 200)) is None
    assert read(*GOOD, *[(b"x", b"y" * 1_000)] * 9) is None


def test_secrets_are_not_remembered_for_others():
    one = reader()
    for secret in (False, True):
        for name in (b"cookie", b"proxy-authorization", b"x-plain"):
            for n in range(20):
                fields = (*GOOD, (name, b"s3cret" + b"%d" % n))
                assert one.read(coded(fields, secret=secret), LIMITS) is not None
    kept = b"".join((*one._names, *one._sound))
    assert b"Bearer" not in kept
    assert {each[:9] for each in one._sound if b"s3cret" in each} == {b"\x40\x07x-plain"}


names = st.sampled_from(
    [*(name for name, _ in GOOD), b":protocol", b"x", b"x-bin", b"cookie", b"Upper", b"connection"]
)
values = st.one_of(
    st.sampled_from([*(value for _, value in GOOD), b"", b" ", b"\n", b"/node.S/M", b"\t", b"a\0"]),
    st.binary(max_size=5),
)
requests = st.lists(st.one_of(st.sampled_from(GOOD), st.tuples(names, values)), max_size=4).flatmap(
    lambda more: st.permutations(more).map(tuple)
)


def by_decoding(block):
    """What decides, if the request may pass: as the relay has it."""
    try:
        fields = split(block, LIMITS, {})
        check_request(fields)
    except (ConnectionFault, TooManyFields, StreamFault):
        return None
    return [
        (name, value)
        for name, value, *_ in fields
        if name in (*CUT, b"content-type", b":method", b":scheme", b":authority")
        or (name == b":path" and value.startswith(PATHS))
    ]


@settings(max_examples=300)
@given(
    st.lists(st.tuples(requests, requests, st.booleans(), st.booleans()), min_size=1, max_size=6)
)
@example([((), (), False, False), (((b"x", b"\xf9 "),), (), False, True)])
def test_never_another_answer_than_by_decoding(drawn):
    decided: dict[Any, Any] = {}
    one = reader()
    for first, last, huffman, secret in drawn:
        block = coded((*first, *GOOD[len(first) :], *last), huffman=huffman, secret=secret)
        found, answer = one.read(block, LIMITS), by_decoding(block)
        if found is None:
            continue
        if found.key in decided:  # then the request passes, and where that one went
            assert answer is not None
            assert answer == decided[found.key]
        elif answer is not None:
            decided[found.key] = answer
        if answer is not None:
            fields = split(block, LIMITS, {})
            kept = b"".join(each.wire for each in fields if each.name not in CUT)
            assert found.cut(block, {0, 1}) == kept
            assert found.cut(block, frozenset()) == block


@given(st.binary(max_size=60))
def test_noise(noise):
    found = reader().read(noise, LIMITS)
    assert found is None or len(found.cut(noise, {0, 1})) <= len(noise)
