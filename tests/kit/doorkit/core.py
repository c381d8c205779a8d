"""The relay's core without sockets, and what goes in and out of it."""

from __future__ import annotations

from doorkit.frames import Frame, fields, split
from relayfuzz.bench import Bench

from torpor_router.h2 import wire

HELLO = wire.settings([(4, 1 << 20)])
REQUEST = fields(path=b"/a.B/C", authority=b"x", token=b"t")


def frames(octets: bytes | bytearray) -> list[Frame]:
    """The frames of `octets`, which must be whole."""
    whole, rest = split(bytes(octets))
    assert not rest, f"{len(rest)} octets are no whole frame"
    return whole


def to_worker(bench: Bench) -> list[Frame]:
    return frames(bench.worker.octets.removeprefix(wire.PREFACE))


def pair_up(bench: Bench, *values: tuple[int, int]) -> None:
    bench.connect()
    bench.from_worker(wire.settings(values) + wire.SETTINGS_ACK)
