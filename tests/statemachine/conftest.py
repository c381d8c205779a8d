"""Fleets over a real Postgres and a cloud in memory that can be told to misbehave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from torpor_provisioner.contract import (
    Address,
    Arch,
    MachineState,
    Observed,
    Provisioner,
    SleepKind,
    Spec,
)
from torpor_provisioner.errors import Gone, NotReady, TorporError
from torpor_statemachine.config import FleetConfig
from torpor_statemachine.database import Database
from torpor_statemachine.fleet import Fleet
from torpor_statemachine.model import Satellite, SleepMode, State
from torpor_statemachine.requests import NewSatellite

LONG = 60.0  # seconds; how long anything may take before a test calls it broken

QUICK = FleetConfig(
    heartbeat=0.3,
    claims_live=2.5,
    leases_live=8.0,
    safety=0.5,
    poll=0.2,
    probe=0.01,
    first_look=0.01,
    longest_look=0.05,
    patience=0.3,
    first_retry=0.02,
    longest_retry=0.1,
    shortest_wake=20.0,
    linger=0.1,
    after_wake=1.0,
    reap=0.1,
    first_back_off=0.2,
    longest_back_off=0.4,
    reconcile=0.5,
    settle=0.0,
    orphans=0.4,
)


@dataclass
class Machine:
    owner: UUID
    generation: int
    token: str
    address: Address
    state: MachineState = MachineState.RUNNING
    sleep_kind: SleepKind | None = None


@dataclass
class Cloud:
    """Machines in memory, and the log of the calls that had an effect.

    `faults[call]` are raised by the next calls of that name, before they have an effect;
    `lost[call]` after. `gates[call]` hold calls until they are set. A machine in `silent` runs
    without a worker that answers.
    """

    machines: dict[str, Machine] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    faults: dict[str, list[Exception]] = field(default_factory=dict)
    lost: dict[str, list[Exception]] = field(default_factory=dict)
    gates: dict[str, asyncio.Event] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    entered: dict[str, int] = field(default_factory=dict)

    def count(self, call: str, ref: str | None = None) -> int:
        return sum(name == call and ref in (None, of) for name, of in self.calls)

    async def launch(self, spec: Spec, token: str) -> str:
        await self._before("launch")
        ref = f"m-{token}"
        if ref not in self.machines:
            address = Address("cloud", len(self.machines) + 1)
            self.machines[ref] = Machine(spec.satellite_id, spec.generation, token, address)
            self.calls.append(("launch", ref))
        self._after("launch")
        return ref

    async def wake(self, ref: str) -> None:
        await self._before("wake")
        machine = self._machine(ref)
        if machine.state is MachineState.STOPPING:
            raise NotReady(ref)
        if machine.state is MachineState.ASLEEP:
            machine.state = MachineState.RUNNING
            self.calls.append(("wake", ref))
        self._after("wake")

    async def sleep(self, ref: str, how: SleepKind) -> None:
        await self._before("sleep")
        machine = self._machine(ref)
        if machine.state is MachineState.RUNNING:
            machine.state, machine.sleep_kind = MachineState.ASLEEP, how
            self.calls.append(("sleep", ref))
        self._after("sleep")

    async def terminate(self, ref: str) -> None:
        await self._before("terminate")
        if ref in self.machines and self.machines[ref].state is not MachineState.GONE:
            self.machines[ref].state = MachineState.GONE
            self.calls.append(("terminate", ref))
        self._after("terminate")

    async def observe(self, refs: Collection[str]) -> Mapping[str, Observed]:
        await self._before("observe")
        return {ref: self._observed(ref) for ref in refs}

    async def owned(self) -> Mapping[str, tuple[UUID, int]]:
        await self._before("owned")
        return {
            ref: (machine.owner, machine.generation)
            for ref, machine in self.machines.items()
            if machine.state is not MachineState.GONE
        }

    async def aclose(self) -> None:
        pass

    async def probe(self, address: Address, timeout: float) -> bool:
        return any(
            machine.address == address
            and machine.state is MachineState.RUNNING
            and ref not in self.silent
            for ref, machine in self.machines.items()
        )

    def _observed(self, ref: str) -> Observed:
        machine = self.machines.get(ref)
        if machine is None:
            return Observed(MachineState.GONE)
        kind = machine.sleep_kind if machine.state is MachineState.ASLEEP else None
        return Observed(machine.state, machine.address, kind)

    def _machine(self, ref: str) -> Machine:
        machine = self.machines.get(ref)
        if machine is None or machine.state is MachineState.GONE:
            raise Gone(ref)
        return machine

    async def _before(self, call: str) -> None:
        self.entered[call] = self.entered.get(call, 0) + 1
        if gate := self.gates.get(call):
            await gate.wait()
        if waiting := self.faults.get(call):
            raise waiting.pop(0)

    def _after(self, call: str) -> None:
        if waiting := self.lost.get(call):
            raise waiting.pop(0)


assert isinstance(Cloud(), Provisioner)


async def until(true: Callable[[], Any], what: str = "") -> None:
    """Wait for a condition; awaitable conditions are awaited."""
    async with asyncio.timeout(LONG):
        while True:
            got = true()
            if asyncio.iscoroutine(got):
                got = await got
            if got:
                return
            await asyncio.sleep(0.01)


class World:
    """Several nodes over one database and one cloud."""

    def __init__(self, database: Database, url: str, stack: AsyncExitStack) -> None:
        self.database = database
        self.url = url
        self.cloud = Cloud()
        self.org_id = uuid4()
        self._stack = stack

    async def node(self, config: FleetConfig = QUICK, **options: Any) -> Fleet:
        database = await self._stack.enter_async_context(Database(self.url, **options))
        fleet = Fleet(database, {"cloud": self.cloud}, probe=self.cloud.probe, config=config)
        await fleet.start()
        self._stack.push_async_callback(fleet.aclose)
        return fleet

    async def launched(
        self,
        fleet: Fleet,
        name: str = "one",
        *,
        sleep_after: float = 3600,
        arch: Arch = Arch.X86_64,
        mode: SleepMode = SleepMode.AUTO,
    ) -> Satellite:
        new = NewSatellite(
            org_id=self.org_id,
            name=name,
            provisioner="cloud",
            arch=arch,
            sleep_mode=mode,
            sleep_after=timedelta(seconds=sleep_after),
        )
        satellite = await fleet.launch(new, actor="test")
        return await self.reaches(fleet, satellite.id, State.RUNNING)

    async def asleep(self, fleet: Fleet, name: str = "one", **how: Any) -> Satellite:
        satellite = await self.launched(fleet, name, **how)
        await fleet.sleep(satellite.id, actor="test")
        return await self.reaches(fleet, satellite.id, State.ASLEEP)

    async def reaches(self, fleet: Fleet, satellite_id: UUID, *states: State) -> Satellite:
        async with asyncio.timeout(LONG):
            async for satellite in fleet.follow(satellite_id):
                if satellite.state in states:
                    return satellite
        raise AssertionError(f"it was terminated before it was {states}")

    async def events(self, fleet: Fleet, satellite_id: UUID) -> list[str]:
        return [step.event for step in reversed(await fleet.history(satellite_id, 1000))]

    def fail(self, call: str, *errors: TorporError | Exception) -> None:
        self.cloud.faults.setdefault(call, []).extend(errors)


@pytest.fixture
async def world(database: Database, database_url: str) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        made = World(database, database_url, stack)
        await database.execute("insert into orgs (id, name) values ($1, 'acme')", made.org_id)
        yield made


@pytest.fixture
def wait_until() -> Callable[..., Any]:
    return until
