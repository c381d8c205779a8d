"""Real virtual machines of this host as a run's cloud: few, emulated, with the provisioner `vm`.

In each runs a worker of the run's own, which tells on its console which streams are open. What a
node did is read from its notes (see `vm_provisioner`).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import UUID, uuid4

from grpc.aio import AioRpcError
from vmkit.machines import ACCELERATOR, SIZE, becomes, image, images, info, missing, prints

from chaoskit import vm_provisioner
from chaoskit.records import Answer, Call, Look, Name, Records
from chaoskit.vm_provisioner import CALM, DATA, SEED, Notes
from torpor_provisioner.contract import Address, Arch, MachineState, SleepKind, Spec
from torpor_provisioner.vm import VmProvisioner, VmSettings, power
from torpor_provisioner.vm.image import runtime
from torpor_provisioner.vm.settings import size

EVERY = (15.0, 45.0)  # seconds between two troubles
REBOOTS = 0.2  # the share of them that end all machines at once
AWAKE = 3  # machines at a time
COMPRESS_AFTER = 4  # seconds
_ENTRY = "[torpor.provisioners]\nchaos-vm = chaoskit.vm_provisioner:ChaosVm\n"
_WORKER = Path(__file__).with_name("vm_worker.py")
# Takes the place of the sample worker in the machine, for good.
_INSTALL = """
cat >/usr/libexec/torpor/chaos.py <<'END'
{program}
END
printf '#!/bin/sh\\nexec {python} -I /usr/libexec/torpor/chaos.py >/dev/null 2>&1\\n' >/tmp/worker
chmod 755 /tmp/worker
mv /tmp/worker /usr/libexec/torpor/worker
sync
"""


@dataclass(frozen=True, slots=True)
class Satellite:
    name: str
    ref: str
    satellite_id: UUID
    arch: Arch
    address: Address


class VmCloud:
    provisioner: str = "chaos-vm"
    made_up: Sequence[str] = ()

    def __init__(self, seed: int, folder: Path, records: Records) -> None:
        if lacking := missing():
            raise SystemExit(f"{lacking} is not installed: see docs/vm.md")
        self.machines: list[Satellite] = []
        self._seed = seed
        self._folder = folder
        self._records = records
        self._notes = Notes(folder)
        self._rng = random.Random(f"{seed}/vm")

    def __repr__(self) -> str:
        return f"<VmCloud of {len(self.machines)} machines>"

    async def __aenter__(self) -> Self:
        made = self._folder / "chaos_vm-0.dist-info"
        made.mkdir()
        (made / "METADATA").write_text("Metadata-Version: 2.1\nName: chaos-vm\nVersion: 0\n")
        (made / "entry_points.txt").write_text(_ENTRY)
        vm_provisioner.witness(self._notes)
        name = (await asyncio.to_thread(image)).name
        _, memory = size(SIZE)
        self._provisioner = VmProvisioner(
            self._folder / DATA,
            VmSettings(images=images(), image=name, size=SIZE, accelerator=ACCELERATOR),
        )
        self._environ = {
            "TORPOR_VM_IMAGES": str(images()),
            "TORPOR_VM_IMAGE": name,
            "TORPOR_VM_SIZE": SIZE,
            "TORPOR_VM_ACCELERATOR": ACCELERATOR,
            "TORPOR_VM_MEMORY": str(AWAKE * memory),
            "TORPOR_VM_ACCOUNTS": "router",
            "TORPOR_VM_COMPRESS_AFTER": str(COMPRESS_AFTER),
            SEED: str(self._seed),
            # libfaketime has Python's time.sleep fail, which waits for a program with a timeout.
            "LD_PRELOAD": "",
        }
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing runs on, and what is left of machines is small."""
        await self._provisioner.aclose()
        for folder in self._folders():
            await power.kill(folder)
            for file in ("memory", "memory.zst", "memory.zst.part"):
                (folder / file).unlink(missing_ok=True)

    async def make(self, number: int, org: str) -> None:
        program = _WORKER.read_text()
        install = _INSTALL.format(program=program, python=runtime.program())
        for each in range(number):  # one after the other: the host is small
            spec = Spec(uuid4(), 1, org, f"m-{each:04}", Arch.X86_64, hibernate=True)
            ref = await self._provisioner.launch(spec, spec.launch_token)
            seen = await becomes(self._provisioner, ref, MachineState.RUNNING)
            pid = (await info(seen)).pid
            await prints(seen, "sh", "-c", install)
            await prints_nothing(self._provisioner, ref, f"kill -9 {pid}")
            await self._until_it_is_ours(ref)
            await self._provisioner.sleep(ref, SleepKind.HIBERNATED)
            address = (await becomes(self._provisioner, ref, MachineState.ASLEEP)).address
            assert address is not None
            self.machines.append(Satellite(spec.name, ref, spec.satellite_id, spec.arch, address))

    async def _until_it_is_ours(self, ref: str) -> None:
        folder = self._folder / DATA / "machines" / ref
        async with asyncio.timeout(120):
            while not vm_provisioner.streams(folder):
                await asyncio.sleep(0.05)

    def environ(self, caller: str) -> dict[str, str]:
        return self._environ

    async def trouble(self) -> None:
        """A machine's power fails, or that of the host: all of its machines are gone at once. None
        is broken again before it has served: a boot takes longer than a trouble is away."""
        served: dict[Path, int] = {}
        while True:
            await asyncio.sleep(self._rng.uniform(*EVERY))
            running = [folder for folder in self._folders() if power.is_on(folder)]
            calls = {folder: _served(folder) for folder in running}
            whole = [folder for folder in running if calls[folder] > served.get(folder, 0)]
            if whole == running and self._rng.random() < REBOOTS:
                self._break(whole, "reboots of the host: all machines gone at once")
            else:
                whole = self._rng.sample(whole, min(1, len(whole)))
                self._break(whole, "hypervisors killed")
            served.update((folder, calls[folder]) for folder in whole)

    def _break(self, folders: Sequence[Path], kind: str) -> None:
        for folder in folders:
            if vm_provisioner.kill(folder):
                self._notes.add(broken=folder.name, fault=kind)

    def _folders(self) -> list[Path]:
        return sorted((self._folder / DATA / "machines").glob("vm-*"))

    async def calm(self) -> None:
        (self._folder / CALM).touch()

    async def wakes(self) -> int:
        return sum(
            note.get("answer") == "begun" and note["call"] == "wake" for note in self._told()
        )

    def _told(self) -> list[dict[str, object]]:
        return self._notes.read()

    async def tell(self) -> None:
        names = {each.ref: each.name for each in self.machines}
        lives = {life.pid: life for life in self._records.lives}
        begun: dict[tuple[int, str, float], dict[str, object]] = {}
        for note in self._notes.read():
            at, pid = note["at"], note["pid"]
            if "fault" in note:
                self._records.faults[note["fault"]] += 1
            if "died" in note and pid in lives:
                lives[pid].killed = True
            if "broken" in note:
                self._records.broken.append((at, names.get(note["broken"], "")))
            if "seen" in note and pid in lives:
                self._records.looks += [
                    Look(at, names[ref], pid, state) for ref, state in note["seen"].items()
                ]
            if "call" in note and pid in lives:
                begun[pid, note["ref"], note["made"]] = note  # the last word on it
        for note in begun.values():
            answer = Answer.LOST if note["answer"] == "begun" else Answer(str(note["answer"]))
            self._records.calls.append(_call(note, names, answer))
        self._records.calls.sort(key=lambda call: call.at)
        for folder in self._folders():
            self._records.served += [
                (names[folder.name], call)
                for event, call in vm_provisioner.streams(folder)
                if event == "opened"
            ]

    async def states(self) -> dict[str, MachineState]:
        seen = await self._provisioner.observe([each.ref for each in self.machines])
        return {each.name: seen[each.ref].state for each in self.machines}


def _served(folder: Path) -> int:
    return sum(event == "closed" for event, _ in vm_provisioner.streams(folder))


def _call(note: dict[str, object], names: dict[str, str], answer: Answer) -> Call:
    at, made = note.get("when", note["at"]), note["made"]
    assert isinstance(at, float)
    assert isinstance(made, float)
    pid, effect, cut = note["pid"], note["effect"], note["cut"]
    assert isinstance(pid, int)
    assert isinstance(effect, bool)
    assert isinstance(cut, list)
    name, ref = Name(str(note["call"])), names[str(note["ref"])]
    return Call(at, ref, pid, name, answer, effect, made, made, tuple(cut))


async def prints_nothing(provisioner: VmProvisioner, ref: str, command: str) -> None:
    """A command that ends whoever would tell of its end."""
    seen = (await provisioner.observe([ref]))[ref]
    try:
        await prints(seen, "sh", "-c", command)
    except AioRpcError:
        return
