"""A cloud with many machines, all of them as they were left."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any
from uuid import UUID

from torpor_provisioner.contract import Observed, SleepKind


class Listing:
    """It tells what there is, and does nothing."""

    def __init__(
        self, machines: Mapping[str, tuple[UUID, int]], running: Collection[str] = ()
    ) -> None:
        self._machines = machines
        self._running = running

    async def owned(self) -> Mapping[str, tuple[UUID, int]]:
        return dict(self._machines)

    async def observe(self, refs: Collection[str]) -> Mapping[str, Observed]:
        raise NotImplementedError

    async def wake(self, ref: str) -> None:
        raise NotImplementedError

    async def sleep(self, ref: str, how: SleepKind) -> None:
        raise NotImplementedError

    async def launch(self, spec: Any, token: str) -> str:
        raise NotImplementedError

    async def terminate(self, ref: str) -> None:
        raise NotImplementedError

    async def aclose(self) -> None:
        pass
