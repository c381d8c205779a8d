"""The worker's answer to one call, gathered while it passes."""

from __future__ import annotations

import pytest

from torpor_router.h2.fields import Field
from torpor_router.relay.watched import Watched

WELL = [Field(b"grpc-status", b"0", b"")]


def message(octets, flag=0):
    return bytes((flag,)) + len(octets).to_bytes(4, "big") + octets


@pytest.mark.parametrize(
    ("data", "trailers", "gathered"),
    [
        ([message(b"answer")], WELL, b"answer"),
        ([b"\0", b"\0\0", b"\0\x02a", b"b"], WELL, b"ab"),
        ([message(b"")], WELL, b""),
        ([], WELL, None),
        ([b"\0\0"], WELL, None),
        ([message(b"answer")[:-1]], WELL, None),
        ([message(b"answer"), b"x"], WELL, None),
        ([message(b"one"), message(b"two")], WELL, None),
        ([message(b"answer", flag=1)], WELL, None),
        ([message(b"answer")], [Field(b"grpc-status", b"13", b"")], None),
        ([message(b"answer")], [], None),
        ([message(b"x" * 65_537)], WELL, None),
    ],
)
def test_one_whole_message_that_ended_well(data, trailers, gathered):
    watched = Watched("/a.B/C")
    for each in data:
        watched.add(each)
    assert watched.message(trailers) == gathered


def test_what_is_too_large_is_not_gathered():
    watched = Watched("/a.B/C")
    for _ in range(100):
        watched.add(b"x" * 16_384)
    assert len(watched._octets) < 100_000
