"""Which faults come when: a function of the seed alone."""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

CUTTABLE = 1  # the node whose link to Postgres can be cut


class Kind(StrEnum):
    POSTGRES_KILL = "Postgres killed (SIGKILL), restarted at once"
    POSTGRES_DOWN = "Postgres killed again and again for seconds"
    POSTGRES_HANG = "Postgres frozen (SIGSTOP), then killed"
    POSTGRES_STALL = "Postgres frozen (SIGSTOP), then going on"
    POSTGRES_CRASH = "one backend killed: Postgres recovers by itself"
    LISTENERS_CUT = "LISTEN connections cut"
    CONNECTIONS_CUT = "all of the nodes' connections to Postgres cut"
    SESSION_VANISHED = (
        "sessions that vanish in mid-transaction, with 50 satellites and a node locked"
    )
    LEASES_LOST = "leases lost, as by a failover"
    DATABASE_CLOCK = "the database's clock stepped, by up to an hour"
    FAILOVER = "failovers begun"
    POOLER_KILL = "PgBouncer killed (SIGKILL), restarted at once"
    LINK_CUT = "a node's link to Postgres silent for seconds"
    HOST_VANISHED = "hosts that vanished: a node killed, its sessions left open in Postgres"
    NODE_KILL = "nodes killed (SIGKILL) and started anew"
    NODE_PAUSE = "nodes paused (SIGSTOP)"
    CLOCK_STEP = "nodes' wall clocks stepped"


@dataclass(frozen=True, slots=True)
class Fault:
    """`at` and `lasts` are seconds; `node` counts from 0; `by` is how far a clock is set."""

    at: float
    kind: Kind
    node: int = 0
    lasts: float = 0.0
    by: int = 0


@dataclass(frozen=True, slots=True)
class Form:
    """How big a run is. Pairs are the shortest and longest time between two faults, in seconds."""

    nodes: int
    satellites: int
    clients: int
    wakes: int
    minutes: float
    postgres: tuple[float, float]
    kill: tuple[float, float]
    pause: tuple[float, float]
    listeners: tuple[float, float]
    sessions: tuple[float, float]
    clocks: tuple[float, float]
    failovers: tuple[float, float]
    links: tuple[float, float]
    beyond_leases: float  # the share of pauses that outlast a lease
    budget: float  # seconds that a request may take, over all its attempts


LONG = Form(
    nodes=4,
    satellites=320,
    clients=420,
    wakes=20_000,
    minutes=60,
    postgres=(5, 40),
    kill=(15, 60),
    pause=(5, 30),
    listeners=(5, 30),
    sessions=(5, 30),
    clocks=(20, 60),
    failovers=(20, 60),
    links=(10, 50),
    beyond_leases=0.06,
    budget=150,
)
SHORT = Form(
    nodes=3,
    satellites=30,
    clients=45,
    wakes=1_000_000,
    minutes=0.6,
    postgres=(5, 12),
    kill=(6, 16),
    pause=(4, 12),
    listeners=(4, 12),
    sessions=(4, 12),
    clocks=(5, 15),
    failovers=(8, 14),
    links=(5, 15),
    beyond_leases=0.0,
    budget=90,
)


# Each machine of EC2's is a process here, and EC2 itself another one.
EC2_LONG = replace(LONG, satellites=48, clients=72, wakes=2_000)
EC2_SHORT = replace(SHORT, satellites=16, clients=24)
# Each machine is emulated: two cores carry three of them, and each that was broken boots anew.
# No clocks are set: libfaketime has Python's time.sleep fail, and waiting for a program with it.
NEVER = (1e9, 1e9)
VM_LONG = replace(
    replace(SHORT, nodes=2, satellites=5, clients=7, wakes=300, minutes=15, budget=300),
    kill=(30, 90),
    clocks=NEVER,
)
VM_SHORT = replace(VM_LONG, satellites=3, clients=4, minutes=1.5)
FORMS = {"chaos": (LONG, SHORT), "ec2": (EC2_LONG, EC2_SHORT), "vm": (VM_LONG, VM_SHORT)}


def schedule(seed: int, form: Form) -> Iterator[Fault]:
    """Without end, in the order of time. Each kind of fault has a generator of its own, so that
    none changes with another's settings."""
    sources = (
        _postgres(_rng(seed, "postgres"), form),
        _kills(_rng(seed, "kill"), form),
        _pauses(_rng(seed, "pause"), form),
        _listeners(_rng(seed, "listeners"), form),
        _sessions(_rng(seed, "sessions"), form),
        _clocks(_rng(seed, "clocks"), form),
        _failovers(_rng(seed, "failovers"), form),
        _links(_rng(seed, "links"), form),
    )
    return heapq.merge(*sources, key=lambda fault: fault.at)


def _rng(seed: int, name: str) -> random.Random:
    return random.Random(f"{seed}/{name}")


def _moments(rng: random.Random, every: tuple[float, float]) -> Iterator[float]:
    at = 3.0 + rng.uniform(0, every[0])
    while True:
        yield at
        at += rng.uniform(*every)


def _postgres(rng: random.Random, form: Form) -> Iterator[Fault]:
    kinds = (
        (Kind.POSTGRES_KILL, 50, 0.0),
        (Kind.POSTGRES_DOWN, 15, 6.0),
        (Kind.POSTGRES_HANG, 10, 8.0),
        (Kind.POSTGRES_STALL, 10, 9.0),
        (Kind.POSTGRES_CRASH, 10, 0.0),
        (Kind.CONNECTIONS_CUT, 5, 0.0),
    )
    for at in _moments(rng, form.postgres):
        kind, _, longest = rng.choices(kinds, [weight for _, weight, _ in kinds])[0]
        yield Fault(at, kind, lasts=rng.uniform(0.5, longest) if longest else 0.0)


def _kills(rng: random.Random, form: Form) -> Iterator[Fault]:
    for at in _moments(rng, form.kill):
        yield Fault(at, Kind.NODE_KILL, rng.randrange(form.nodes), rng.uniform(0, 3))


def _pauses(rng: random.Random, form: Form) -> Iterator[Fault]:
    """Short of the life of claims, about as long as it, longer, and longer than that of leases."""
    for at in _moments(rng, form.pause):
        pick = rng.random()
        if pick < form.beyond_leases:
            lasts = rng.uniform(62, 90)
        elif pick < 0.35:
            lasts = rng.uniform(0.2, 5)
        elif pick < 0.8:
            lasts = rng.uniform(5, 9)
        else:
            lasts = rng.uniform(9, 25 if form.beyond_leases else 12)
        yield Fault(at, Kind.NODE_PAUSE, rng.randrange(form.nodes), lasts)


def _listeners(rng: random.Random, form: Form) -> Iterator[Fault]:
    for at in _moments(rng, form.listeners):
        yield Fault(at, Kind.LISTENERS_CUT)


def _sessions(rng: random.Random, form: Form) -> Iterator[Fault]:
    kinds = (Kind.SESSION_VANISHED, Kind.LEASES_LOST, Kind.POOLER_KILL)
    for at in _moments(rng, form.sessions):
        kind = rng.choices(kinds, (50, 25, 25))[0]
        yield Fault(at, kind, lasts=20.0 if kind is Kind.SESSION_VANISHED else 0.0)


def _clocks(rng: random.Random, form: Form) -> Iterator[Fault]:
    """Of the nodes, and of the database."""
    for at in _moments(rng, form.clocks):
        sign = rng.choice((-1, 1))
        if rng.random() < 0.5:
            by = sign * round(10 ** rng.uniform(0, 6))
            yield Fault(at, Kind.CLOCK_STEP, rng.randrange(form.nodes), by=by)
        else:
            yield Fault(at, Kind.DATABASE_CLOCK, by=sign * round(10 ** rng.uniform(0, 3.5)))


def _failovers(rng: random.Random, form: Form) -> Iterator[Fault]:
    for at in _moments(rng, form.failovers):
        yield Fault(at, Kind.FAILOVER, lasts=rng.uniform(0.1, 2))


def _links(rng: random.Random, form: Form) -> Iterator[Fault]:
    """Of the node that has one that can be cut."""
    for at in _moments(rng, form.links):
        if rng.random() < 0.5:
            longest = 25 if form.beyond_leases else 12
            yield Fault(at, Kind.LINK_CUT, CUTTABLE, rng.uniform(0.5, longest))
        else:
            yield Fault(at, Kind.HOST_VANISHED, CUTTABLE, rng.uniform(0, 3))
