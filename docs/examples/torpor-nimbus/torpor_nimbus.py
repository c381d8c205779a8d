"""Satellites as machines of Nimbus, a cloud with a small HTTP API.

Nimbus names machines as it is told to, and doing something twice there is doing it once. That is
what most of the contract rests on; a cloud without it needs tags or client tokens instead.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Self
from uuid import UUID

import aiohttp

from torpor_provisioner import deadline
from torpor_provisioner.contract import Address, MachineState, Observed, SleepKind, Spec
from torpor_provisioner.errors import (
    Capacity,
    Denied,
    Gone,
    Invalid,
    NotReady,
    ProvisionerError,
    Quota,
    Throttled,
    Unanswered,
)

PORT = 8372  # where workers listen
LONGEST = 20.0  # seconds for one request
STATES = {
    "starting": MachineState.PENDING,
    "running": MachineState.RUNNING,
    "stopping": MachineState.STOPPING,
    "stopped": MachineState.ASLEEP,
    "deleted": MachineState.GONE,
}
REFUSALS: Mapping[int, type[ProvisionerError]] = {
    400: Invalid,
    401: Denied,
    402: Quota,
    403: Denied,
    404: Gone,
    409: NotReady,  # it moves
    422: Invalid,  # it cannot hibernate
    429: Throttled,
    507: Capacity,
}


class Nimbus:
    """`deployment` labels our machines, so that two deployments in one account never meet."""

    def __init__(self, url: str, key: str, deployment: str) -> None:
        self._url = url
        self._key = key
        self._deployment = deployment
        self._http: aiohttp.ClientSession | None = None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], data: Path) -> Self:  # noqa: ARG003
        """Read TORPOR_NIMBUS_URL, _KEY and _DEPLOYMENT. Nothing is kept in `data`."""
        names = [f"TORPOR_NIMBUS_{name}" for name in ("URL", "KEY", "DEPLOYMENT")]
        for name in names:
            if not environ.get(name):
                raise Invalid(f"{name} is missing")
        return cls(*(environ[name] for name in names))

    async def launch(self, spec: Spec, token: str) -> str:
        if spec.settings:
            raise Invalid(f"nimbus satellites have no settings, not {sorted(spec.settings)}")
        # Made of the token: the same launch makes the same machine, on whichever node it is
        name = f"torpor-{hashlib.sha256(token.encode()).hexdigest()[:24]}"
        labels = {
            "deployment": self._deployment,
            "satellite": str(spec.satellite_id),
            "generation": str(spec.generation),
        }
        wanted = {"size": spec.size, "hibernates": spec.hibernate, "labels": labels}
        await self._ask("PUT", f"/machines/{name}", wanted)
        return name

    async def wake(self, ref: str) -> None:
        await self._ask("POST", f"/machines/{ref}/start")

    async def sleep(self, ref: str, how: SleepKind) -> None:
        try:
            verb = "hibernate" if how is SleepKind.HIBERNATED else "stop"
            await self._ask("POST", f"/machines/{ref}/{verb}")
        except Invalid:  # it was not made to hibernate
            await self._ask("POST", f"/machines/{ref}/stop")

    async def terminate(self, ref: str) -> None:
        try:
            await self._ask("DELETE", f"/machines/{ref}")
        except Gone:
            return

    async def observe(self, refs: Collection[str]) -> Mapping[str, Observed]:
        machines = await self._machines() if refs else {}
        gone = Observed(MachineState.GONE, detail="Nimbus knows no such machine")
        return {ref: _observed(machines[ref]) if ref in machines else gone for ref in refs}

    async def owned(self) -> Mapping[str, tuple[UUID, int]]:
        owned = {}
        for name, machine in (await self._machines()).items():
            if machine["state"] != "deleted":
                labels = machine["labels"]
                owned[name] = (UUID(labels["satellite"]), int(labels["generation"]))
        return owned

    async def aclose(self) -> None:
        if self._http is not None:
            await self._http.close()

    async def _machines(self) -> dict[str, dict[str, Any]]:
        told = await self._ask("GET", f"/machines?deployment={self._deployment}")
        return {machine["name"]: machine for machine in told}

    async def _ask(self, method: str, path: str, body: object = None) -> Any:
        if self._http is None:
            self._http = aiohttp.ClientSession(headers={"Authorization": f"Bearer {self._key}"})
        if method != "GET":
            deadline.check(path)  # another node may move the machine by now
        within = aiohttp.ClientTimeout(total=min(LONGEST, deadline.left()))
        try:
            async with self._http.request(
                method, self._url + path, json=body, timeout=within
            ) as answer:
                if answer.ok:
                    return await answer.json()
                raise REFUSALS.get(answer.status, Unanswered)(await answer.text())
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Unanswered(f"{method} {path}: {type(error).__name__}") from error


def _observed(machine: Mapping[str, Any]) -> Observed:
    state = STATES[machine["state"]]
    kept = SleepKind.HIBERNATED if machine["memory_kept"] else SleepKind.STOPPED
    return Observed(
        state=state,
        address=Address(machine["ip"], PORT),
        sleep_kind=kept if state is MachineState.ASLEEP else None,
        detail=machine["why"],
    )
