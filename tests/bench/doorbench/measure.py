"""The rounds: every subject in turn, so that what the machine does meanwhile hits all alike."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import uvloop
from doorbench.connections import Crowd
from doorbench.load import Load
from doorbench.machine import Cost, cost, until
from doorbench.neighbours import Value, undisturbed
from doorbench.results import Connections, Measured
from doorbench.subject import Subject
from doorbench.traffic import Traffic
from doorbench.worker import BULK

RATE = 1_000  # calls a second at which latency is measured


@dataclass(frozen=True)
class Plan:
    """How much of everything. The calls of a round are as many as take `seconds` or so."""

    rounds: int
    seconds: float
    traffic: float  # seconds, for each load whose requests differ
    bulk_calls: int
    bulk_takes: int  # a round: they are short, and the load's two processes share a core
    idle: tuple[int, ...]
    held: tuple[int, ...]
    rest: float  # seconds for which connections are watched doing nothing
    tries: int  # of a measurement that others disturb


FULL = Plan(
    rounds=5,
    seconds=2.0,
    traffic=1.5,
    bulk_calls=80,
    bulk_takes=3,
    idle=(1_000,),
    held=(1_000, 10_000),
    rest=5.0,
    tries=3,
)
SHORT = Plan(
    rounds=2,
    seconds=1.0,
    traffic=0.7,
    bulk_calls=40,
    bulk_takes=1,
    idle=(1_000,),
    held=(1_000,),
    rest=1.0,
    tries=1,
)

_PATIENCE = 5.0  # seconds that the first calls of a load may take

Say = Callable[[str], None]


class Rounds:
    def __init__(
        self,
        subjects: Iterable[Subject],
        load: Load,
        plan: Plan,
        say: Say,
        traffic: Iterable[Traffic],
    ) -> None:
        self._subjects = list(subjects)
        self._traffic = list(traffic)
        self._load = load
        self._plan = plan
        self._say = say
        self.measured = {each.name: Measured(each.name) for each in self._subjects}
        self._calls: dict[str, int] = {}
        self._traffic_calls: dict[tuple[str, str], int] = {}
        self.others: list[float] = []  # cores that others used while each number was taken

    def run(self) -> list[Measured]:
        with ExitStack() as stack:
            for subject in self._subjects:
                stack.enter_context(subject.started())
            self._rounds()
        for subject in self._subjects:
            self._crowds(subject)
        return list(self.measured.values())

    def _rounds(self) -> None:
        for subject in self._subjects:
            self._calls[subject.name] = self._warm_up(subject)
            for each in self._made_for(subject):
                rate = each.run(self._load, subject.target, each.first)
                calls = max(each.first, int(rate * self._plan.traffic))
                self._traffic_calls[subject.name, each.name] = calls
        for number in range(self._plan.rounds):
            # not always the same neighbour before
            for subject in self._subjects[:: 1 if number % 2 == 0 else -1]:
                self._round(subject)

    def _warm_up(self, subject: Subject) -> int:
        """How many calls fill a measurement."""
        self._load.unary(subject.target, 200)
        rate = self._load.unary(subject.target, max(200, int(1_000 * self._plan.seconds)))
        return max(200, int(rate * self._plan.seconds))

    def _round(self, subject: Subject) -> None:
        seen, load, target = self.measured[subject.name], self._load, subject.target
        calls = self._calls[subject.name]
        self._costed(subject, lambda: load.unary(target, calls), calls, seen.unary, seen.unary_cpu)
        self._differing(subject)
        latency = self._undisturbed(lambda: load.paced(target, RATE, self._plan.seconds))
        seen.p50.append(latency.p50)
        seen.p99.append(latency.p99)
        for _ in range(self._plan.bulk_takes):
            self._bulk(subject)
        self._say(
            f"{subject.name}: {seen.unary[-1]:,.0f} calls/s, p50 {latency.p50 * 1e6:.0f} µs,"
            f" p99 {latency.p99 * 1e6:.0f} µs, down {seen.down[-1] / 1e9:.2f} GB/s,"
            f" up {seen.up[-1] / 1e9:.2f} GB/s; others used {self.others[-1]:.1f} cores"
        )

    def _made_for(self, subject: Subject) -> list[Traffic]:
        """Not those that would keep the subject busy for very long."""
        most = _PATIENCE * self._calls[subject.name] / self._plan.seconds
        return [
            each
            for each in self._traffic
            if each.first <= most
            and (subject.target.tls_port or not each.tls)
            and (subject.resumes or not each.resumed)
        ]

    def _differing(self, subject: Subject) -> None:
        seen, load, target = self.measured[subject.name], self._load, subject.target
        for each in self._made_for(subject):
            calls = self._traffic_calls[subject.name, each.name]
            rates = seen.traffic.setdefault(each.name, [])
            costs = seen.traffic_cpu.setdefault(each.name, [])
            run = partial(each.run, load, target, calls)
            self._costed(subject, run, calls, rates, costs)
        told = ", ".join(f"{name} {rates[-1]:,.0f}" for name, rates in seen.traffic.items())
        self._say(f"{subject.name}: {told} calls/s")

    def _bulk(self, subject: Subject) -> None:
        seen, load, target = self.measured[subject.name], self._load, subject.target
        bulk = self._plan.bulk_calls
        octets = bulk * BULK
        self._costed(subject, lambda: load.down(target, bulk), octets, seen.down, seen.down_cpu)
        self._costed(subject, lambda: load.up(target, bulk), octets, seen.up, seen.up_cpu)
        if target.tls_port is not None:
            seen.tls_down.append(self._undisturbed(lambda: load.down(target, bulk, tls=True)))
            seen.tls_up.append(self._undisturbed(lambda: load.up(target, bulk, tls=True)))

    def _undisturbed(self, measure: Callable[[], Value]) -> Value:
        value, others = undisturbed(measure, self._plan.tries)
        self.others.append(others)
        return value

    def _costed(
        self,
        subject: Subject,
        measure: Callable[[], float],
        amount: int,
        rates: list[float],
        costs: list[float],
    ) -> None:
        """Tell a rate, and what the subject spends on each of `amount`, in seconds of CPU."""

        def costed() -> tuple[float, float]:
            before = cost(subject.pids)
            rate = measure()
            return rate, cost(subject.pids).since(before).cpu / amount

        rate, spent = self._undisturbed(costed)
        rates.append(rate)
        if subject.pids:
            costs.append(spent)

    def _crowds(self, subject: Subject) -> None:
        """Each on a proxy that was started for it: what was used before hides what is needed."""
        kinds = [(count, False) for count in self._plan.idle]
        kinds += [(count, True) for count in self._plan.held if subject.holds]
        for count, held in kinds:
            with subject.started():
                self._load.unary(subject.target, 200)
                if not subject.pids:
                    return
                calm(subject)
                crowd = self._held(subject, count) if held else self._idle(subject, count)
                seen = uvloop.run(crowd)
            self.measured[subject.name].connections.append(seen)
            self._say(f"{subject.name}: {seen}")

    async def _idle(self, subject: Subject, count: int) -> Connections:
        """Connections that have had one answer, and say no more."""
        crowd = Crowd(subject.target)
        before = cost(subject.pids)
        await crowd.come(count, stay=True)
        await crowd.over()
        seen = await self._watched(subject, before, count, held=False)
        seen.failed = crowd.failed
        crowd.go()
        return seen

    async def _held(self, subject: Subject, count: int) -> Connections:
        """Connections whose first request waits for its worker; in the end all are answered."""
        crowd = Crowd(subject.target)
        subject.sleep()
        before = cost(subject.pids)
        await crowd.come(count, stay=False)
        await self._settled(subject)
        seen = await self._watched(subject, before, count, held=True)
        subject.wake()
        seen.release = await crowd.over()
        seen.failed = crowd.failed
        return seen

    async def _settled(self, subject: Subject) -> None:
        """Until the proxy has taken in all that came."""
        last = -1.0
        while (now := cost(subject.pids).cpu) - last > 0.02:
            last = now
            await asyncio.sleep(0.5)

    async def _watched(
        self, subject: Subject, before: Cost, count: int, *, held: bool
    ) -> Connections:
        spent = cost(subject.pids).since(before)
        began = time.monotonic()
        await asyncio.sleep(self._plan.rest)
        took = time.monotonic() - began
        resting = cost(subject.pids).since(before).cpu - spent.cpu
        return Connections(
            count, held, spent.memory / count, spent.cpu / count, resting / took if took else 0.0
        )


def calm(subject: Subject) -> None:
    """Wait until the subject does nothing more of what it was last asked to do."""

    def quiet() -> bool:
        before = cost(subject.pids).cpu
        time.sleep(0.2)
        return cost(subject.pids).cpu - before < 0.02

    until(quiet, f"{subject.name} is calm")
