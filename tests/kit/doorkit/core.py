"""The relay's core without sockets, and what goes in and out of it."""

from __future__ import annotations

from torpor_router.h2 import wire

HELLO = wire.settings([(4, 1 << 20)])
REQUEST = (
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", b"/a.B/C"),
    (b":authority", b"x"),
    (b"te", b"trailers"),
    (b"content-type", b"application/grpc"),
    (b"satellite", b"acme/one"),
    (b"authorization", b"Bearer t"),
)


def frames(octets):
    """Kind, flags, stream and payload of every frame."""
    at, out = 0, []
    while at < len(octets):
        word, flags, stream = wire.unpack_header(octets, at)
        end = at + 9 + (word >> 8)
        out.append((word & 0xFF, flags, stream, bytes(octets[at + 9 : end])))
        at = end
    return out


def to_worker(bench):
    return frames(bytes(bench.worker.octets).removeprefix(wire.PREFACE))


def pair_up(bench, *values):
    bench.connect()
    bench.from_worker(wire.settings(values) + wire.SETTINGS_ACK)
