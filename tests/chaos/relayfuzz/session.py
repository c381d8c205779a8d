"""One connection made up from a seed: who does what, in which order, in which reads."""

from __future__ import annotations

import random

from relayfuzz.bench import Bench
from relayfuzz.checks import check_end, check_out, check_requests
from relayfuzz.frames import REQUEST, SECRET, client_frame, damage, worker_frame

from torpor_provisioner.errors import Capacity
from torpor_router.errors import Draining, WorkerLost, WorkerUnreachable
from torpor_router.h2 import wire
from torpor_router.h2.blocks import encode
from torpor_router.limits import Limits
from torpor_router.relay.streams import HELD, NODE


class Session:
    """One connection from greeting to end."""

    def __init__(self, seed: int) -> None:
        rng = self.rng = random.Random(seed)
        few = rng.random() < 0.3  # allowances that a session can use up
        self.bench = Bench(
            Limits(
                streams_per_connection=rng.choice((20, 20, 1_000)),
                header_octets=8_192,
                resets=rng.choice((1, 3)) if few else 1_000,
                faults=rng.choice((1, 3)) if few else 100,
            )
        )
        self.harm = rng.choice((0.0, 0.0, 0.01, 0.1))
        self.most_at_worker = rng.choice((None, None, 1, 2, 3))
        self.bench.fleet.awake = rng.random() < 0.5
        self.opened: list[int] = []
        self.to_client = self.to_node_client = b""
        self.from_client = wire.settings([(4, 1 << 20)] if rng.random() < 0.5 else [])
        if rng.random() < 0.7:
            self.from_client += wire.SETTINGS_ACK

    def run(self) -> None:
        """
        Raises:
            AssertionError: something did not hold.
        """
        for _ in range(self.rng.randrange(5, 150)):
            self.bench.pass_time(self.rng.random())
            self.bench.relay.tick += self.rng.random() < 0.1
            self.rng.choices(_STEPS, _WEIGHTS)[0](self)
            check_out(self.bench)
        if not self.harm:
            assert not self.bench.view.excess, self.bench.view.excess
            assert SECRET not in self.bench.worker.octets, "the worker was shown a token"
            check_requests(bytes(self.bench.worker.octets).removeprefix(wire.PREFACE))
        self.bench.pair.closed()
        check_end(self.bench)

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
            values = [(4, self.rng.choice((10, 65_535)))]
            if self.most_at_worker is not None:
                values.append((3, self.most_at_worker))
            self.to_client = wire.settings(values)
        pair = self.bench.pair
        sent = [n for n, state in pair.streams.states.items() if not state & (HELD | NODE)]
        if sent or self.rng.random() < 0.02:
            self.to_client += self._maybe_harmed(worker_frame(self.rng, sent))
        cut = self._cut(self.to_client)
        octets, self.to_client = self.to_client[:cut], self.to_client[cut:]
        self.bench.from_worker(octets)

    def crowd(self) -> None:
        """Hundreds of requests with little time, all at once."""
        for _ in range(self.rng.randrange(100, 600)):
            stream = (self.opened[-1] if self.opened else -1) + 2
            self.opened.append(stream)
            octets = encode((*REQUEST, (b"grpc-timeout", self.rng.choice((b"1m", b"9S")))))
            self.from_client += wire.headers(stream, octets, end_stream=True)

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

    def node(self) -> None:
        """The node's own services connect, answer, or go away."""
        if self.bench.node_leg is None:
            self.to_node_client = b""
            self.bench.connect_node()
            return
        if not self.bench.node_leg.greeted and not self.to_node_client:
            self.to_node_client = wire.settings([(4, self.rng.choice((10, 65_535)))])
        states = self.bench.pair.streams.states
        open_ = [n for n, state in states.items() if state & NODE]
        if open_:
            self.to_node_client += worker_frame(self.rng, open_)
        cut = self._cut(self.to_node_client)
        octets, self.to_node_client = self.to_node_client[:cut], self.to_node_client[cut:]
        self.bench.from_node(octets)
        if self.rng.random() < 0.02:
            self.bench.lose_node()

    def lose(self) -> None:
        if self.bench.pair.ready:
            self.bench.pair.worker_gone(WorkerLost())
            self.bench.hang_up()

    def close(self) -> None:
        """A write fails: the socket is closed some time before anybody is told."""
        self.rng.choice((self.bench.worker, self.bench.node, self.bench.client)).closing = True

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
            self.bench.pair.holding.refuse(self.bench.waiting.pop(), Capacity())
            self.bench.pair.run_due()

    def _cut(self, octets: bytes) -> int:
        return self.rng.choice((len(octets), self.rng.randrange(len(octets) + 1)))

    def _maybe_harmed(self, frame: bytes) -> bytes:
        return damage(self.rng, frame) if self.rng.random() < self.harm else frame


_STEPS, _WEIGHTS = zip(
    (Session.client, 500),
    (Session.worker, 300),
    (Session.crowd, 1),
    (Session.connect, 70),
    (Session.node, 60),
    (Session.admit, 60),
    (Session.turn, 20),
    (Session.sleep, 3),
    (Session.lose, 5),
    (Session.close, 5),
    (Session.drain, 1),
    (Session.cut, 1),
    (Session.fail, 10),
    (Session.refuse, 20),
    strict=True,
)
