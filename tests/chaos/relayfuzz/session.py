"""One connection made up from a seed: who does what, in which order, in which reads."""

from __future__ import annotations

import random

from relayfuzz.bench import Bench
from relayfuzz.checks import check_end, check_out
from relayfuzz.frames import SECRET, client_frame, damage, worker_frame

from torpor_provisioner.errors import Capacity
from torpor_router.errors import Draining, WorkerLost, WorkerUnreachable
from torpor_router.h2 import wire


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
            check_out(self.bench)
        if not self.harm:
            assert SECRET not in self.bench.worker.octets, "the worker was shown a token"
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
