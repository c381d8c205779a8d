"""A cloud in memory that can be told to misbehave."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from uuid import UUID

from torpor_provisioner.contract import (
    Address,
    Changeable,
    Identity,
    MachineState,
    Observed,
    Provisioner,
    SleepKind,
    Spec,
)
from torpor_provisioner.errors import Gone, Invalid, NotReady, ProvisionerError


def _identity_of(worker: Address) -> Address:
    return worker._replace(port=worker.port + 1000)


@dataclass
class Machine:
    owner: UUID
    generation: int
    token: str
    address: Address
    state: MachineState = MachineState.RUNNING
    sleep_kind: SleepKind | None = None
    size: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    detail: str = ""  # what the cloud says of its state
    identity: Identity | None = None  # what it says of itself
    failure: ProvisionerError | None = None  # why the cloud stopped it


@dataclass
class Cloud:
    """Machines in memory, and the log of the calls that had an effect.

    `faults[call]` are raised by the next calls of that name, before they have an effect;
    `lost[call]` after. `gates[call]` hold calls until they are set. A machine in `silent` runs
    without a worker that answers, one in `deaf` will not sleep, one in `slow` is long about it.
    """

    machines: dict[str, Machine] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    faults: dict[str, list[Exception]] = field(default_factory=dict)
    lost: dict[str, list[Exception]] = field(default_factory=dict)
    gates: dict[str, asyncio.Event] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    deaf: set[str] = field(default_factory=set)
    slow: set[str] = field(default_factory=set)
    unknown_sizes: set[str] = field(default_factory=set)
    entered: dict[str, int] = field(default_factory=dict)
    called_off: Counter[str] = field(default_factory=Counter)

    def count(self, call: str, ref: str | None = None) -> int:
        return sum(name == call and ref in (None, of) for name, of in self.calls)

    async def launch(self, spec: Spec, token: str) -> str:
        await self._before("launch")
        ref = f"m-{token}"
        if ref not in self.machines:
            address = Address("cloud", len(self.machines) + 1)
            self.machines[ref] = Machine(
                spec.satellite_id,
                spec.generation,
                token,
                address,
                size=spec.size,
                settings=spec.settings,
            )
            self.calls.append(("launch", ref))
        await self._after("launch")
        return ref

    async def wake(self, ref: str) -> None:
        await self._before("wake")
        machine = self._machine(ref)
        if machine.state is MachineState.STOPPING:
            raise NotReady(ref)
        if machine.state is MachineState.ASLEEP:
            machine.state = MachineState.RUNNING
            self.calls.append(("wake", ref))
        await self._after("wake")

    async def sleep(self, ref: str, how: SleepKind) -> None:
        await self._before("sleep")
        machine = self._machine(ref)
        if machine.state is MachineState.RUNNING and ref not in self.deaf:
            machine.state = MachineState.STOPPING if ref in self.slow else MachineState.ASLEEP
            machine.sleep_kind = how
            self.calls.append(("sleep", ref))
        await self._after("sleep")

    async def terminate(self, ref: str) -> None:
        await self._before("terminate")
        if ref in self.machines and self.machines[ref].state is not MachineState.GONE:
            self.machines[ref].state = MachineState.GONE
            self.calls.append(("terminate", ref))
        await self._after("terminate")

    async def resize(self, ref: str, spec: Spec) -> None:
        await self._before("resize")
        machine = self._machine(ref)
        if machine.state is not MachineState.ASLEEP:
            raise NotReady(ref)
        if machine.sleep_kind is SleepKind.HIBERNATED:
            raise Invalid("it is hibernated; wake it, and stop it, first")
        if machine.size != spec.size:
            machine.size = spec.size
            self.calls.append(("resize", ref))
        await self._after("resize")

    async def update(self, ref: str, spec: Spec) -> None:
        await self._before("update")
        machine = self._machine(ref)
        if machine.settings != spec.settings:
            machine.settings = spec.settings
            self.calls.append(("update", ref))
        await self._after("update")

    async def check(self, spec: Spec) -> None:
        await self._before("check")
        if spec.size in self.unknown_sizes:
            raise Invalid(f"there is no size {spec.size}")

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

    async def identify(self, address: Address, timeout: float) -> Identity | None:
        """Who runs there now, which need not be who was asked for."""
        for machine in self.machines.values():
            if machine.state is MachineState.RUNNING and _identity_of(machine.address) == address:
                return machine.identity
        return None

    def _observed(self, ref: str) -> Observed:
        machine = self.machines.get(ref)
        if machine is None:
            return Observed(MachineState.GONE)
        kind = machine.sleep_kind if machine.state is MachineState.ASLEEP else None
        says_so = _identity_of(machine.address) if machine.identity is not None else None
        failure = machine.failure if kind is not None else None
        return Observed(machine.state, machine.address, kind, machine.detail, says_so, failure)

    def _machine(self, ref: str) -> Machine:
        machine = self.machines.get(ref)
        if machine is None or machine.state is MachineState.GONE:
            raise Gone(ref)
        return machine

    def hold(self, call: str) -> asyncio.Event:
        """Hold calls of that name before they have an effect, until the event is set."""
        gate = self.gates[call] = asyncio.Event()
        return gate

    def hold_after(self, call: str) -> asyncio.Event:
        """Hold answers to calls of that name, which have had their effect."""
        gate = self.gates[f"after {call}"] = asyncio.Event()
        return gate

    def fail(self, call: str, *errors: Exception) -> None:
        self.faults.setdefault(call, []).extend(errors)

    def lose(self, call: str, *errors: Exception) -> None:
        self.lost.setdefault(call, []).extend(errors)

    async def _before(self, call: str) -> None:
        self.entered[call] = self.entered.get(call, 0) + 1
        try:
            await self._pass(call)
        except asyncio.CancelledError:
            self.called_off[call] += 1
            raise
        if waiting := self.faults.get(call):
            raise waiting.pop(0)

    async def _pass(self, gate_of: str) -> None:
        while (gate := self.gates.get(gate_of)) and not gate.is_set():
            await asyncio.sleep(0.005)  # and no gate.wait(): nodes may run in threads of their own

    async def _after(self, call: str) -> None:
        await self._pass(f"after {call}")
        if waiting := self.lost.get(call):
            raise waiting.pop(0)


assert isinstance(Cloud(), Provisioner)
assert isinstance(Cloud(), Changeable)
