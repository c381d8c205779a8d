"""Fuzz the relay's core without sockets: ``python tests/chaos/fuzz_relay.py --seconds 120``.

Sessions of a client, a worker and a fleet that sleeps and wakes are made up from a seed, damaged
in some places, cut into reads at random, and fed to a pair. Whatever comes: only
`ConnectionFault` may escape, what goes out is well-formed HTTP/2, a worker never sees a stream
twice, out of order, or of another satellite, and in the end everybody who was counted in has
been counted out. A failure prints the options that repeat it.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from uuid import UUID

from torpor_provisioner.contract import Address
from torpor_provisioner.errors import Capacity
from torpor_router.errors import Draining, WorkerLost, WorkerProtocol, WorkerUnreachable
from torpor_router.h2 import wire
from torpor_router.h2.blocks import encode
from torpor_router.h2.faults import ConnectionFault
from torpor_router.h2.wire import Kind
from torpor_router.limits import Limits
from torpor_router.relay.context import Relay
from torpor_router.relay.held import Held
from torpor_router.relay.pair import Pair
from torpor_router.relay.satellite import SatelliteLeg
from torpor_router.routing import Ask, Peer, Route
from torpor_statemachine.gate import Admitted
from torpor_statemachine.model import WakeKind

SECRET = b"s3cret-t0ken"


class Wire:
    """Keeps what is written to one peer."""

    def __init__(self) -> None:
        self.octets = bytearray()

    def write(self, data: bytes | memoryview) -> None:
        self.octets += data

    def writelines(self, parts: Iterable[bytes | memoryview]) -> None:
        for part in parts:
            self.octets += part


class Fleet:
    """Gate and directory in one. Every other stream of a sleeping satellite must wait."""

    def __init__(self) -> None:
        self.inside: Counter[UUID] = Counter()
        self.epoch = 1
        self.awake = True

    def enter(self, satellite: UUID) -> Admitted | None:
        return self.let_in(satellite, WakeKind.HOT) if self.awake else None

    def let_in(self, satellite: UUID, kind: WakeKind = WakeKind.RESUMED) -> Admitted:
        self.inside[satellite] += 1
        return Admitted(Address("", 1), self.epoch, kind)

    async def admit(self, satellite: UUID, *, actor: str, budget: float) -> Admitted:
        raise NotImplementedError

    def leave(self, satellite: UUID) -> None:
        self.inside[satellite] -= 1
        assert self.inside[satellite] >= 0, "left more often than entered"

    def suspect(self, satellite: UUID) -> None:
        raise NotImplementedError

    def on_sleep(self, told: Callable[[UUID], None]) -> None:
        raise NotImplementedError

    def route_now(self, ask: Ask) -> Route | None:
        return Route(UUID(int=hash(ask.satellite) % 1000), ask.org, ask.satellite, "token:x")

    async def route(self, ask: Ask) -> Route:
        raise NotImplementedError


@dataclass
class Bench:
    """A pair with wires in place of sockets, and the test in place of time."""

    fleet: Fleet = field(default_factory=Fleet)
    waiting: list[Held] = field(default_factory=list)
    dialled: int = 0
    farewells: list[str] = field(default_factory=list)
    leg: SatelliteLeg | None = None
    now: float = 0.0

    def __post_init__(self) -> None:
        limits = Limits(streams_per_connection=20, header_octets=8_192)
        self.relay = Relay(self.fleet, self.fleet, limits, lambda: self.now)
        self.client = Wire()
        self.worker = Wire()
        self.pair = Pair(self.relay, self, self.client, Peer("fuzz"))
        self.pair.greet()

    # Edge
    def wait(self, held: Held) -> None:
        held.cancel = lambda: None
        self.waiting.append(held)

    def dial(self, address: Address | None) -> None:
        self.dialled += 1

    def hang_up(self) -> None:
        self.leg = None

    def farewell(self, why: str) -> None:
        self.farewells.append(why)

    # what the world does
    def from_client(self, data: bytes) -> None:
        if self.farewells:
            return
        try:
            self.pair.client.feed(data)
        except ConnectionFault as fault:
            self.pair.client_fault(fault)

    def from_worker(self, data: bytes) -> None:
        if self.leg is None:
            return
        try:
            self.leg.feed(data)
        except ConnectionFault as fault:
            self.pair.worker_gone(WorkerProtocol(fault.why))
            self.hang_up()

    def connect(self) -> None:
        if self.dialled and self.leg is None and not self.farewells and not self.pair.ready:
            self.worker = Wire()
            self.leg = self.pair.worker_connected(self.worker)

    def admit(self) -> None:
        waiting, self.waiting = self.waiting, []
        for held in waiting:
            if held.route is not None and self.pair.held.get(held.stream) is held:
                self.pair.admitted(held, self.fleet.let_in(held.route.satellite_id))


def block(rng: random.Random) -> bytes:
    """A request as a client might write it, or nearly."""
    satellite = rng.choices((b"acme/one", b"acme/two", b"Bad Name"), (20, 1, 1))[0]
    pairs = [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (
            b":path",
            rng.choice((b"/a.B/C", b"/torpor.v1.S/L")) if rng.random() < 0.05 else b"/a.B/C",
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
    return rng.choice((b"", b"", b"\x20")) + encode(pairs)


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
        return wire.settings(
            [rng.choice(((1, 0), (2, 1), (4, 0), (4, 70_000), (5, 20_000), (9, 9)))]
        )
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


class Session:
    """One connection from greeting to end."""

    def __init__(self, seed: int) -> None:
        rng = self.rng = random.Random(seed)
        self.bench = Bench()
        self.harm = rng.choice((0.0, 0.0, 0.01, 0.1))
        self.bench.fleet.awake = rng.random() < 0.5
        self.opened: list[int] = []
        self.to_client = b""
        self.from_client = wire.settings([(4, 1 << 20)] if rng.random() < 0.5 else [])
        if rng.random() < 0.7:
            self.from_client += wire.SETTINGS_ACK

    def run(self) -> None:
        """
        Raises:
            AssertionError: something did not hold.
        """
        for _ in range(self.rng.randrange(5, 150)):
            self.bench.now += self.rng.random()
            self.bench.relay.tick += self.rng.random() < 0.1
            self.rng.choices(_STEPS, _WEIGHTS)[0](self)
            _check_out(self.bench)
        if not self.harm:
            assert SECRET not in self.bench.worker.octets, "the worker was shown a token"
        self.bench.pair.closed()
        _check_end(self.bench)

    def client(self) -> None:
        self.from_client += self._maybe_harmed(client_frame(self.rng, self.opened))
        cut = self._cut(self.from_client)
        octets, self.from_client = self.from_client[:cut], self.from_client[cut:]
        self.bench.from_client(octets)

    def worker(self) -> None:
        leg = self.bench.leg
        if leg is None:
            return
        if not leg.greeted and not self.to_client:
            self.to_client = wire.settings([(4, self.rng.choice((10, 65_535)))])
        pair = self.bench.pair
        sent = [each for each in pair.streams if each not in pair.held]
        if sent or self.rng.random() < 0.02:
            self.to_client += self._maybe_harmed(worker_frame(self.rng, sent))
        cut = self._cut(self.to_client)
        octets, self.to_client = self.to_client[:cut], self.to_client[cut:]
        self.bench.from_worker(octets)

    def connect(self) -> None:
        if self.bench.leg is None:
            self.to_client = b""
            self.bench.connect()

    def admit(self) -> None:
        self.bench.admit()

    def turn(self) -> None:
        self.bench.fleet.awake = not self.bench.fleet.awake

    def sleep(self) -> None:
        self.bench.fleet.epoch += 1
        self.bench.pair.retire("asleep")

    def lose(self) -> None:
        if self.bench.pair.ready:
            self.bench.pair.worker_gone(WorkerLost())
            self.bench.hang_up()

    def drain(self) -> None:
        if not self.bench.farewells:
            self.bench.pair.retire("draining")

    def cut(self) -> None:
        if not self.bench.farewells:
            self.bench.hang_up()
            self.bench.pair.cut(Draining())

    def fail(self) -> None:
        if self.bench.dialled and not self.bench.pair.ready:
            self.bench.hang_up()
            self.bench.pair.dial_failed(WorkerUnreachable())

    def refuse(self) -> None:
        if self.bench.waiting:
            self.bench.pair.refuse(self.bench.waiting.pop(), Capacity())

    def _cut(self, octets: bytes) -> int:
        return self.rng.choice((len(octets), self.rng.randrange(len(octets) + 1)))

    def _maybe_harmed(self, frame: bytes) -> bytes:
        return damage(self.rng, frame) if self.rng.random() < self.harm else frame


_STEPS, _WEIGHTS = zip(
    (Session.client, 500),
    (Session.worker, 300),
    (Session.connect, 70),
    (Session.admit, 60),
    (Session.turn, 20),
    (Session.sleep, 3),
    (Session.lose, 5),
    (Session.drain, 1),
    (Session.cut, 1),
    (Session.fail, 10),
    (Session.refuse, 20),
    strict=True,
)


def _frames(octets: bytes | bytearray) -> list[tuple[int, int, int]]:
    """Kind, flags and stream of every frame; octets that are no whole frames are a failure."""
    at, frames, block_of = 0, [], 0
    while at < len(octets):
        word, flags, stream = wire.unpack_header(octets, at)
        kind = word & 0xFF
        at += wire.HEADER_SIZE + (word >> 8)
        assert at <= len(octets), "a frame went out in part"
        if block_of:
            assert (kind, stream) == (Kind.CONTINUATION, block_of), "a header block was torn"
        if kind in (Kind.HEADERS, Kind.CONTINUATION):
            block_of = 0 if flags & wire.END_HEADERS else stream
        frames.append((kind, flags, stream & wire.STREAM_MASK))
    assert not block_of, "a header block was left open"
    return frames


def _check_out(bench: Bench) -> None:
    _frames(bench.client.octets)
    octets = bytes(bench.worker.octets).removeprefix(wire.PREFACE)
    last, ended = 0, set()
    for kind, flags, stream in _frames(octets):
        if kind == Kind.HEADERS and stream not in ended and stream > last:
            last = stream
        elif kind in (Kind.HEADERS, Kind.DATA):
            assert stream <= last, "the worker was sent a stream out of order"
            assert stream not in ended, "the worker was sent a frame behind END_STREAM"
        if kind in (Kind.HEADERS, Kind.DATA) and flags & wire.END_STREAM:
            ended.add(stream)


def _check_end(bench: Bench) -> None:
    assert not bench.fleet.inside.total(), "counted in and never out"
    assert not bench.relay.holds.total, "held for ever"
    assert not bench.relay.counts.streams, "open for ever"
    assert not bench.relay.callers.total(), "a connection of nobody's"
    assert not bench.pair.held
    assert not bench.pair.streams
    assert not bench.pair.flow.waiting


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="for so long [60]")
    parser.add_argument("--sessions", type=int, help="at most so many")
    parser.add_argument("--seed", type=int, help="the first session's; each has the next one")
    options = parser.parse_args()
    start = random.randrange(1 << 40) if options.seed is None else options.seed
    print(f"from seed {start}", flush=True)
    count, until = 0, time.monotonic() + options.seconds
    while count != options.sessions and time.monotonic() < until:
        try:
            Session(start + count).run()
        except Exception:
            repeat = f"--seed {start + count} --sessions 1"
            print(f"failed after {count} sessions; repeat with {repeat}", file=sys.stderr)
            raise
        count += 1
    print(f"{count} sessions, 0 failed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
