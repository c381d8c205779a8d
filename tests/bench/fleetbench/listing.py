"""A cloud with many machines, all of them as they were left; those that are woken take a while."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

from fleetbench.rows import ADDRESS

from torpor_provisioner.contract import Address, MachineState, Observed, SleepKind

Machines = Mapping[str, tuple[UUID, int]]
BOOT = (1.0, 5.0)  # seconds, evenly spread


class Listing:
    """`called[ref]` is when a machine was started here. In `folder` other processes see it, too."""

    def __init__(
        self,
        machines: Machines,
        address: Address,
        running: Collection[str] = (),
        folder: Path | None = None,
    ) -> None:
        self.called: dict[str, float] = {}
        self.calls = 0
        self._folder = folder
        self._machines = dict(machines)
        self._address = address
        self._running = set(running)
        self._up_at: dict[str, float] = {}

    async def owned(self) -> Machines:
        return dict(self._machines)

    async def observe(self, refs: Collection[str]) -> Mapping[str, Observed]:
        return {ref: self._observed(ref) for ref in refs}

    def _observed(self, ref: str) -> Observed:
        if ref in self._running:
            return Observed(MachineState.RUNNING, ADDRESS)
        if (started := self._started(ref)) is not None:
            up_at, address = started
            if time.monotonic() > up_at:
                return Observed(MachineState.RUNNING, address)
            return Observed(MachineState.PENDING)
        return Observed(MachineState.ASLEEP, sleep_kind=SleepKind.HIBERNATED)

    def _started(self, ref: str) -> tuple[float, Address] | None:
        """When it is up, and where, if some process has started it."""
        if (up_at := self._up_at.get(ref)) is not None:
            return up_at, self._address
        if self._folder is None or not (self._folder / ref).exists():
            return None
        words = (self._folder / ref).read_text().split() or ("inf", "1")
        return float(words[0]), Address(self._address.host, int(words[1]))

    async def wake(self, ref: str) -> None:
        self.called[ref] = time.monotonic()
        self.calls += 1
        up_at = self._up_at[ref] = time.monotonic() + random.uniform(*BOOT)
        if self._folder is not None:
            (self._folder / ref).write_text(f"{up_at} {self._address.port}")
        await asyncio.sleep(0.05)  # as a call to a cloud takes

    async def sleep(self, ref: str, how: SleepKind) -> None:
        raise NotImplementedError

    async def launch(self, spec: Any, token: str) -> str:
        raise NotImplementedError

    async def terminate(self, ref: str) -> None:
        raise NotImplementedError

    async def aclose(self) -> None:
        pass
