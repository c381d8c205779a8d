"""Frames made up from a seed: as a client and a worker might write them, or nearly."""

from __future__ import annotations

import random

from doorkit.frames import fields
from hpack import Encoder

from torpor_router.h2 import wire
from torpor_router.h2.blocks import TABLE_SIZE_ZERO, encode
from torpor_router.h2.wire import Kind

SECRET = b"s3cret-t0ken"
REQUEST = fields(path=b"/a.B/C", token=SECRET)
STATUS = b"/moby.buildkit.v1.Control/Status"

_FLAWED = (
    (b"Upper", b"x"),
    (b"x", b"a\r\nb"),
    (b"x", b" lead"),
    (b"te", b"gzip"),
    (b"connection", b"close"),
    (b":path", b"/late"),
    (b"x-bin", b"\0\xff\n"),
)


def block(rng: random.Random) -> bytes:
    """A request as a client might write it, or nearly."""
    satellite = rng.choices((b"acme/one", b"acme/two", b"Bad Name"), (20, 1, 1))[0]
    pairs = [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (
            b":path",
            rng.choices(
                (b"/a.B/C", b"/torpor.v1.S/L", STATUS, b"/a.B/%d" % rng.randrange(99), b"/a\n"),
                (65, 5, 15, 13, 2),
            )[0],
        ),
        (b":authority", b"localhost"),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc" if rng.random() < 0.95 else b"text/html"),
        (b"satellite", satellite),
        (b"authorization", b"Bearer " + SECRET),
    ]
    if rng.random() < 0.2:
        pairs.append((b"grpc-timeout", rng.choice((b"5S", b"1m", b"nonsense", b"99999999H"))))
    if rng.random() < 0.05:
        rng.shuffle(pairs)
    if rng.random() < 0.05:
        pairs.append((b"x" * rng.randrange(9_000), b"y" * rng.randrange(9_000)))
    if rng.random() < 0.3:
        pairs.append((b"traceparent", b"00-%032x" % rng.getrandbits(128)))
    if rng.random() < 0.05:
        pairs.append(rng.choice(_FLAWED))
    return rng.choice((b"", b"", b"\x20")) + _encode(rng, pairs)


def _encode(rng: random.Random, pairs: list[tuple[bytes, bytes]]) -> bytes:
    """With Huffman codes, or without."""
    if rng.random() < 0.5:
        return encode(pairs)
    encoder = Encoder()
    encoder.header_table_size = 0
    return bytes(encoder.encode(pairs)).removeprefix(TABLE_SIZE_ZERO)


def headers(rng: random.Random, stream: int, octets: bytes, *, end: bool) -> bytes:
    """In any of the forms that HEADERS may take."""
    flags, payload = (wire.END_STREAM if end else 0), octets
    split_at = rng.randrange(len(octets) + 1) if rng.random() < 0.3 else len(octets)
    payload, rest = octets[:split_at], octets[split_at:]
    if rng.random() < 0.3:
        flags |= wire.PRIORITIZED
        payload = bytes(5) + payload
    if rng.random() < 0.3:
        pad = rng.randrange(20)
        flags |= wire.PADDED
        payload = bytes((pad,)) + payload + bytes(pad)
    if not rest:
        return wire.frame(Kind.HEADERS, flags | wire.END_HEADERS, stream, payload)
    return wire.frame(Kind.HEADERS, flags, stream, payload) + wire.frame(
        Kind.CONTINUATION, wire.END_HEADERS, stream, rest
    )


def data(rng: random.Random, stream: int) -> bytes:
    flags = rng.choice((0, 0, wire.END_STREAM))
    octets = rng.randbytes(rng.choice((0, 1, 100, 5_000)))
    if rng.random() < 0.2:
        pad = rng.randrange(10)
        return wire.frame(
            Kind.DATA, flags | wire.PADDED, stream, bytes((pad,)) + octets + bytes(pad)
        )
    return wire.frame(Kind.DATA, flags, stream, octets)


_CLIENT_SETTINGS = ((1, 0), (2, 1), (4, 0), (4, 70_000), (5, 20_000), (9, 9))


def client_frame(rng: random.Random, opened: list[int]) -> bytes:
    known = rng.choice(opened) if opened else 1
    pick = rng.random()
    if pick < 0.35 or not opened:
        opened.append((opened[-1] if opened else -1) + 2)
        return headers(rng, opened[-1], block(rng), end=rng.random() < 0.4)
    if pick < 0.7:
        return data(rng, known)
    if pick < 0.76:
        return wire.rst_stream(known, rng.choice(list(wire.ErrorCode)))
    if pick < 0.86:
        return wire.window_update(rng.choice((0, known)), rng.choice((1, 65_535, 1 << 30)))
    if pick < 0.9:
        return wire.frame(Kind.PING, rng.choice((0, 1)), 0, rng.randbytes(8))
    if pick < 0.93:
        return wire.SETTINGS_ACK
    if pick < 0.96:
        return wire.settings([rng.choice(_CLIENT_SETTINGS)])
    if pick < 0.98:
        return wire.frame(Kind.PRIORITY, 0, known, rng.randbytes(5))
    return wire.frame(rng.randrange(10, 256), rng.randrange(256), known, rng.randbytes(9))


def worker_frame(rng: random.Random, opened: list[int]) -> bytes:
    known = rng.choice(opened) if opened else 1
    pick = rng.random()
    if pick < 0.3:
        answer = b"\x20\x88" + encode(
            ((b"content-type", b"application/grpc" if rng.random() < 0.95 else b"text/html"),)
        )
        return headers(rng, known, answer, end=rng.random() < 0.3)
    if pick < 0.6:
        return data(rng, known)
    if pick < 0.7:
        trailer = encode(((b"grpc-status", b"0"),))
        return headers(rng, known, trailer, end=True)
    if pick < 0.75:
        return wire.rst_stream(known, rng.choice(list(wire.ErrorCode)))
    if pick < 0.85:
        return wire.window_update(rng.choice((0, known)), rng.randrange(1, 70_000))
    if pick < 0.9:
        return wire.settings([(4, rng.choice((0, 10, 65_535, 1 << 20)))])
    if pick < 0.94:
        return wire.SETTINGS_ACK
    if pick < 0.98:
        return wire.frame(Kind.PING, 0, 0, rng.randbytes(8))
    return wire.goaway(rng.choice((known, wire.BIGGEST_WINDOW)), wire.ErrorCode.NO_ERROR)


def damage(rng: random.Random, octets: bytes) -> bytes:
    harmed = bytearray(octets)
    for _ in range(rng.randrange(1, 4)):
        if harmed:
            harmed[rng.randrange(len(harmed))] ^= 1 << rng.randrange(8)
    return bytes(harmed[: rng.randrange(len(harmed) + 1)] if rng.random() < 0.3 else harmed)
