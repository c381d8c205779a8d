"""What must hold of a bench: after each step, and once its connection has ended."""

from __future__ import annotations

from doorkit.frames import Frame, split
from relayfuzz.bench import Bench

from torpor_router.h2 import wire
from torpor_router.h2.blocks import HeaderLimits
from torpor_router.h2.blocks import split as read_fields
from torpor_router.h2.requests import check_request
from torpor_router.h2.wire import Kind


def check_out(bench: Bench) -> None:
    _frames(bench.client.octets)
    octets = bytes(bench.worker.octets).removeprefix(wire.PREFACE)
    last, ended = 0, set()
    for kind, flags, stream, _ in _frames(octets):
        if kind == Kind.HEADERS and stream not in ended and stream > last:
            last = stream
        elif kind in (Kind.HEADERS, Kind.DATA):
            assert stream <= last, "the worker was sent a stream out of order"
            assert stream not in ended, "the worker was sent a frame behind END_STREAM"
        if kind in (Kind.HEADERS, Kind.DATA) and flags & wire.END_STREAM:
            ended.add(stream)


def check_end(bench: Bench) -> None:
    assert not bench.fleet.inside.total(), "counted in and never out"
    assert not bench.relay.holds.total, "held for ever"
    assert not bench.relay.counts.streams, "open for ever"
    assert not bench.relay.callers.total(), "a connection of nobody's"
    assert not bench.pair.streams.held
    assert not bench.pair.streams.held_octets
    assert not bench.pair.streams.states
    assert not bench.pair.streams.node
    assert not bench.pair.streams.tags
    assert not bench.pair.holding.octets
    assert not len(bench.pair.uploads)
    assert not len(bench.pair.early), "an answer begun for nobody"


def check_requests(octets: bytes) -> None:
    """What a worker was sent of a client that keeps to the frames' rules: only whole requests."""
    opened: set[int] = set()
    for kind, flags, stream, payload in split(octets)[0]:
        if kind == Kind.HEADERS and stream not in opened and flags & wire.END_HEADERS:
            check_request(read_fields(payload, _ANY, {}))
        opened.add(stream)


_ANY = HeaderLimits(1 << 20, 10_000)


def _frames(octets: bytes | bytearray) -> list[Frame]:
    """The frames of `octets`; octets that are no whole frames are a failure."""
    frames, rest = split(bytes(octets))
    assert not rest, "a frame went out in part"
    block_of = 0
    for kind, flags, stream, _ in frames:
        if block_of:
            assert (kind, stream) == (Kind.CONTINUATION, block_of), "a header block was torn"
        if kind in (Kind.HEADERS, Kind.CONTINUATION):
            block_of = 0 if flags & wire.END_HEADERS else stream
    assert not block_of, "a header block was left open"
    return frames
