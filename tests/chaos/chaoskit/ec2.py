"""The faithful EC2 as a run's cloud: the nodes use the real `ec2` provisioner on it.

Behind each instance is a process, `chaoskit.worker`, on the instance's own loopback address. What
goes wrong by EC2's doing is said to it in its own words; what it did is read from its log of calls.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shlex
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import UUID, uuid4

import aiohttp

from chaoskit import witness
from chaoskit.records import Records
from torpor_provisioner.contract import Address, Arch, MachineState, SleepKind, Spec
from torpor_provisioner.ec2 import Ec2Provisioner
from torpor_provisioner.ec2.environment import settings_from
from torpor_provisioner.ec2.machines import STATES
from torpor_provisioner.ec2.refs import Ref
from torpor_provisioner.faithful_ec2.playing import played

SPEED = 20.0  # times as fast as EC2: a start takes 0.8 s, a hibernation of 8 GiB 1.3 s
EVERY = (0.5, 4.0)  # seconds between two troubles
CALLER = "AWS_SDK_UA_APP_ID"  # what the SDK adds to its name in every request
LOG = "streams"
LOOK = 0.3  # seconds

BUSY = ("RequestLimitExceeded", "Request limit exceeded.", 503)
BROKEN = ("InternalError", "An internal error has occurred", 500)
AWAY = ("Unavailable", "The server is overloaded and can't handle the request.", 503)
FULL = ("InsufficientInstanceCapacity", "Insufficient capacity.", 500)


@dataclass(frozen=True, slots=True)
class Trouble:
    """One that meets up to `times` calls of `action`; the bigger its weight, the more often."""

    weight: int
    action: str
    effect: str
    says: tuple[str, str, int] = BROKEN
    times: int = 1
    seconds: float = 60.0

    def body(self, times: int) -> dict[str, Any]:
        code, message, status = self.says
        told = {"code": code, "message": message, "status": status, "times": times}
        return {"action": self.action, "effect": self.effect, "seconds": self.seconds, **told}


TROUBLES = (
    Trouble(4, "StartInstances", "refuse", FULL, times=3),
    Trouble(3, "StartInstances", "refuse", BUSY, times=3),
    Trouble(2, "StartInstances", "refuse", BROKEN),
    Trouble(2, "StartInstances", "refuse", AWAY),
    Trouble(5, "StartInstances", "lose"),
    Trouble(3, "StopInstances", "refuse", BUSY, times=3),
    Trouble(2, "StopInstances", "refuse", BROKEN),
    Trouble(2, "StopInstances", "refuse", AWAY),
    Trouble(5, "StopInstances", "lose"),
    Trouble(4, "StopInstances", "shut-down"),
    Trouble(2, "StartInstances", "late", seconds=8.0),
    Trouble(1, "StartInstances", "late"),
    Trouble(1, "StartInstances", "hang"),
    Trouble(2, "StopInstances", "late", seconds=8.0),
    Trouble(1, "StopInstances", "hang"),
    Trouble(1, "DescribeInstances", "late", seconds=8.0),
    Trouble(1, "DescribeInstances", "hang"),
    Trouble(3, "DescribeInstances", "refuse", BUSY, times=3),
    Trouble(2, "DescribeInstances", "refuse", BROKEN, times=2),
    Trouble(3, "DescribeInstances", "lose", times=2),
)


@dataclass(frozen=True, slots=True)
class Instance:
    name: str
    ref: str
    satellite_id: UUID
    arch: Arch
    address: Address

    @property
    def id(self) -> str:
        return Ref.parse(self.ref).instance


class FaithfulCloud:
    provisioner: str = "ec2"
    made_up: Sequence[str] = ()  # the provisioner classifies whatever AWS says

    def __init__(self, seed: int, folder: Path, records: Records) -> None:
        self.machines: list[Instance] = []
        self._folder = folder / "machines"
        self._told = folder / "ec2.jsonl"
        self._records = records
        self._rng = random.Random(f"{seed}/ec2")
        self._environ: dict[str, str] = {}
        self._stack = AsyncExitStack()

    def __repr__(self) -> str:
        return f"<FaithfulCloud of {len(self.machines)} machines>"

    async def __aenter__(self) -> Self:
        playing = played(self._folder, deployment="chaos", speed=SPEED, worker=_worker())
        self._environ = await asyncio.to_thread(playing.__enter__)
        self._stack.push_async_callback(asyncio.to_thread, playing.__exit__, None, None, None)
        os.environ.update(self._environ)  # the SDK's own variables are among them
        self._http = await self._stack.enter_async_context(
            aiohttp.ClientSession(self._environ["TORPOR_EC2_ENDPOINT"], raise_for_status=True)
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    async def make(self, number: int, org: str) -> None:
        """As Torpor launches them; how fast is not what this is about."""
        await self._say("PUT", "limits", on=False)
        limits = {"TORPOR_EC2_LIMITS": "RunInstances=1000/1000,StopInstances=1000/1000"}
        provisioner = Ec2Provisioner(settings_from(self._environ | limits))
        try:
            self.machines = list(
                await asyncio.gather(
                    *(_launched(provisioner, f"m-{each:04}", org, each) for each in range(number))
                )
            )
        finally:
            await provisioner.aclose()
        await self._say("PUT", "limits", on=True)

    def environ(self, caller: str) -> dict[str, str]:
        return {**self._environ, CALLER: caller}

    async def trouble(self) -> None:
        weights = [each.weight for each in TROUBLES]
        while True:
            await asyncio.sleep(self._rng.uniform(*EVERY))
            [trouble] = self._rng.choices(TROUBLES, weights)
            await self._say("POST", "faults", **trouble.body(self._rng.randint(1, trouble.times)))

    async def calm(self) -> None:
        await self._say("DELETE", "script")

    async def wakes(self) -> int:
        return sum(machine["starts"] for machine in await self._say("GET", "machines"))

    async def tell(self) -> None:
        log = await self._say("GET", "calls")
        with self._told.open("w") as lines:  # for whoever looks into a violation
            lines.writelines(json.dumps(entry) + "\n" for entry in log)
        names = {machine.id: machine.name for machine in self.machines}
        lives = {life.name: life for life in self._records.lives}
        open_on = {
            machine.name: witness.read_streams(self._folder / machine.id / "data" / LOG)
            for machine in self.machines
        }
        self._records.calls = list(witness.calls(log, names, lives, open_on))
        self._records.looks = list(witness.looks(log, names, lives))
        for trouble, times in Counter(witness.troubles(log, lives)).items():
            self._records.faults[trouble] = times

    async def states(self) -> dict[str, MachineState]:
        phases = {each["instance"]: each["phase"] for each in await self._say("GET", "machines")}
        return {machine.name: STATES[phases[machine.id]] for machine in self.machines}

    async def _say(self, method: str, word: str, **body: Any) -> Any:
        async with self._http.request(method, f"/faithful/{word}", json=body) as answer:
            return await answer.json()


async def _launched(provisioner: Ec2Provisioner, name: str, org: str, number: int) -> Instance:
    """One that has been launched and stopped."""
    arch = Arch.X86_64 if number % 2 else Arch.ARM64
    spec = Spec(uuid4(), 1, org, name, arch, hibernate=arch is Arch.X86_64)
    ref = await provisioner.launch(spec, f"{spec.satellite_id}-1")
    address = await _reaches(provisioner, ref, MachineState.RUNNING)
    await provisioner.sleep(ref, SleepKind.STOPPED)
    await _reaches(provisioner, ref, MachineState.ASLEEP)
    return Instance(name, ref, spec.satellite_id, arch, address)


async def _reaches(provisioner: Ec2Provisioner, ref: str, state: MachineState) -> Address:
    while True:
        seen = (await provisioner.observe([ref]))[ref]
        if seen.state is state and seen.address is not None:
            return seen.address
        await asyncio.sleep(LOOK)


def _worker() -> str:
    """The command line; workers inherit no PYTHONPATH."""
    path = os.pathsep.join(
        filter(None, (str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")))
    )
    words = ("/usr/bin/env", f"PYTHONPATH={path}", sys.executable, "-m", "chaoskit.worker")
    filled = ("--host", "{host}", "--port", "{port}", "--log", f"{{data}}/{LOG}")
    return shlex.join((*(_braced(word) for word in words), *filled))


def _braced(word: str) -> str:
    return word.replace("{", "{{").replace("}", "}}")
