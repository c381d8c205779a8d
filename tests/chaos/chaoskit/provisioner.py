"""What a node has of the chaos cloud: a provisioner like any other, found by its entry point."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Self
from uuid import UUID

from torpor_provisioner import deadline
from torpor_provisioner.contract import Address, MachineState, Observed, SleepKind, Spec
from torpor_provisioner.errors import Capacity, Invalid, NotReady, Throttled

SOCKET = "TORPOR_CHAOS_SOCKET"
_ENDLESS = 3600.0  # seconds
_REFUSALS = {error.__name__: error for error in (Capacity, NotReady, Throttled)}


class AnswerLost(Exception):
    """No class of the contract: the lifecycle has to live with whatever comes."""


class ChaosProvisioner:
    def __init__(self, socket: Path) -> None:
        self._socket = socket

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], _data: Path) -> Self:
        return cls(Path(environ[SOCKET]))

    async def launch(self, spec: Spec, token: str) -> str:
        raise Invalid("the machines of a chaos run are made before it")

    async def wake(self, ref: str) -> None:
        await self._call("wake", ref=ref)

    async def sleep(self, ref: str, how: SleepKind) -> None:
        await self._call("sleep", ref=ref, how=how)

    async def terminate(self, ref: str) -> None:
        raise Invalid(f"nobody may end {ref}")

    async def observe(self, refs: Collection[str]) -> Mapping[str, Observed]:
        answer = await self._call("observe", refs=list(refs))
        return {ref: _observed(seen) for ref, seen in answer["seen"].items()}

    async def owned(self) -> Mapping[str, tuple[UUID, int]]:
        answer = await self._call("owned")
        return {ref: (UUID(owner), number) for ref, (owner, number) in answer["owned"].items()}

    async def aclose(self) -> None:
        pass

    async def _call(self, name: str, **values: Any) -> dict[str, Any]:
        made = time.monotonic()
        reader, writer = await asyncio.open_unix_connection(self._socket)
        try:
            left = min(deadline.left(), _ENDLESS)
            asked = {"call": name, "pid": os.getpid(), "made": made, "left": left, **values}
            writer.write(json.dumps(asked).encode() + b"\n")
            line = await reader.readline()
        finally:
            writer.close()
        if not line:
            raise AnswerLost(name)
        answer: dict[str, Any] = json.loads(line)
        if error := answer.get("error"):
            if error in _REFUSALS:
                raise _REFUSALS[error](f"as the seed has it: {name}")
            raise RuntimeError("a failure that no provisioner has classified")
        return answer


def _observed(seen: dict[str, Any]) -> Observed:
    kind = SleepKind(seen["kind"]) if seen["kind"] else None
    return Observed(MachineState(seen["state"]), Address(*seen["address"]), kind)
