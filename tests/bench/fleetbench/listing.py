"""A cloud with many machines, all of them as they were left; those that are woken take a while."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Collection, Mapping
from typing import Any
from uuid import UUID

from torpor_provisioner.contract import Address, MachineState, Observed, SleepKind

Machines = Mapping[str, tuple[UUID, int]]
BOOT = (1.0, 5.0)  # seconds, evenly spread


class Listing:
    """`called[ref]` is when the machine was told to start."""

    def __init__(self, machines: Machines, address: Address, running: Collection[str] = ()) -> None:
        self.called: dict[str, float] = {}
        self._machines = dict(machines)
        self._address = address
        self._running = set(running)
        self._up_at: dict[str, float] = {}

    async def owned(self) -> Machines:
        return dict(self._machines)

    async def observe(self, refs: Collection[str]) -> Mapping[str, Observed]:
        return {ref: self._observed(ref) for ref in refs}

    def _observed(self, ref: str) -> Observed:
        if ref in self._running or time.monotonic() > self._up_at.get(ref, float("inf")):
            return Observed(MachineState.RUNNING, self._address)
        if ref in self._up_at:
            return Observed(MachineState.PENDING)
        return Observed(MachineState.ASLEEP, sleep_kind=SleepKind.HIBERNATED)

    async def wake(self, ref: str) -> None:
        self.called[ref] = time.monotonic()
        self._up_at[ref] = time.monotonic() + random.uniform(*BOOT)
        await asyncio.sleep(0.05)  # as a call to a cloud takes

    async def sleep(self, ref: str, how: SleepKind) -> None:
        raise NotImplementedError

    async def launch(self, spec: Any, token: str) -> str:
        raise NotImplementedError

    async def terminate(self, ref: str) -> None:
        raise NotImplementedError

    async def aclose(self) -> None:
        pass
