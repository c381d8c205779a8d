"""What a node of a run on virtual machines has: the real provisioner, which notes what it does, and
is unlucky.

At the steps of a sleep and of a wake its hypervisor is killed at times, or the node itself, or the
disk is full. All of it is noted in `NOTES`, one JSON line each, before it happens.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import time
from collections.abc import Callable, Collection, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from torpor_provisioner.calls import Call, write_call
from torpor_provisioner.contract import Observed, SleepKind
from torpor_provisioner.errors import ProvisionerError
from torpor_provisioner.vm import VmProvisioner, compressed, machine, power, qemu, qmp, safely
from torpor_provisioner.vm.hypervisor import STATE

NOTES, CALM, CONSOLE = "notes.jsonl", "calm", "console"
SEED, DATA = "TORPOR_CHAOS_SEED", "vm"
# How often, of all times that a step is begun or done.
KILLS_HYPERVISOR, KILLS_NODE, IS_FULL = 0.01, 0.003, 0.03
_OF_GUEST = ("save", "is_saved", "end", "load", "go", "tell")
_OF_FILES = (
    *((safely, name) for name in ("sync", "sync_folder")),
    *((compressed, name) for name in ("compress", "commit", "restore", "forget")),
)
_under_way: ContextVar[dict[str, Any] | None] = ContextVar("under_way", default=None)


class Notes:
    """One file for all processes of a run: each line is one write."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def calm(self) -> bool:
        return (self.folder / CALM).exists()

    def add(self, **what: Any) -> None:
        line = json.dumps({"at": time.monotonic(), "pid": os.getpid(), **what})
        with (self.folder / NOTES).open("a") as out:
            out.write(line + "\n")

    def read(self) -> list[dict[str, Any]]:
        try:
            return [json.loads(line) for line in (self.folder / NOTES).read_text().splitlines()]
        except FileNotFoundError:
            return []


def streams(folder: Path) -> list[tuple[str, str]]:
    """What the worker in that machine has said on its console: event and call, in order."""
    try:
        told = (folder / CONSOLE).read_bytes().decode(errors="replace")
    except FileNotFoundError:
        return []
    words = (line.strip().split() for line in told.splitlines())
    return [(each[1], each[2]) for each in words if len(each) == 3 and each[0] == "witness"]


def open_streams(folder: Path) -> list[str]:
    still: dict[str, None] = {}
    for event, call in streams(folder):
        if event == "booted":
            still.clear()
        elif event == "opened":
            still[call] = None
        else:
            still.pop(call, None)
    return list(still)


class ChaosVm(VmProvisioner):
    """Found by its entry point, in the place of `vm`."""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], data: Path) -> ChaosVm:
        made = super().from_environment(environ, data)
        assert isinstance(made, cls)
        made.notes = Notes(data)
        witness(made.notes)
        _Unlucky(made.notes, f"{environ[SEED]}/{os.getpid()}").take_over()
        return made

    notes: Notes

    async def wake(self, ref: str) -> None:
        await self._noted("wake", ref, super().wake(ref))

    async def sleep(self, ref: str, how: SleepKind) -> None:
        await self._noted("sleep", ref, super().sleep(ref, how))

    async def observe(self, refs: Collection[str]) -> Mapping[str, Observed]:
        seen = await super().observe(refs)
        self.notes.add(seen={ref: each.state for ref, each in seen.items()})
        return seen

    async def _noted(self, name: str, ref: str, doing: Any) -> None:
        told = {"call": name, "ref": ref, "made": time.monotonic(), "effect": False, "cut": []}
        held = _under_way.set(told)
        answer = "ok"
        try:
            await doing
        except ProvisionerError as error:
            answer = "lost" if told["effect"] else "refused"
            told["says"] = error.code
            raise
        except asyncio.CancelledError:
            answer = "lost" if told["effect"] else "given up"
            raise
        finally:
            _under_way.reset(held)
            self.notes.add(**{**told, "answer": answer})


def witness(notes: Notes) -> None:
    """Have consoles be files, and effects be noted at once: whoever made one may be killed then."""
    backends = qemu._backends

    def written(*arguments: Any) -> tuple[str, ...]:
        file = f"file,id=console,path={CONSOLE},append=on"
        return tuple(
            file if word.startswith("ringbuf,id=console") else word for word in backends(*arguments)
        )

    def noted(folder: Path, call: Call) -> None:
        write_call(folder, call)
        told = _under_way.get()
        if told is not None and call.call in {"wake", "sleep"}:
            told["effect"], told["when"] = True, time.monotonic()
            if call.call == "sleep":
                told["cut"] = open_streams(folder / "machines" / call.ref)
            notes.add(**{**told, "answer": "begun"})

    qemu._backends = written  # type: ignore[assignment]
    machine.write_call = noted  # type: ignore[attr-defined]


class _Unlucky:
    def __init__(self, notes: Notes, seed: str) -> None:
        self._notes = notes
        self._rng = random.Random(seed)

    def take_over(self) -> None:
        for name in _OF_GUEST:
            self._wrap(qemu._Guest, name)
        for owner, name in _OF_FILES:
            self._wrap(owner, name)
        give, save = qmp.Monitor.give, qemu._Guest.save
        full: ContextVar[bool] = ContextVar("full", default=False)

        async def saves(guest: qemu._Guest, state: Path) -> None:
            is_full = not self._notes.calm and self._rng.random() < IS_FULL
            if is_full:
                self._notes.add(fault="the disk full while a machine was saved")
            held = full.set(is_full)
            try:
                await save(guest, state)
            finally:
                full.reset(held)

        async def gives(monitor: qmp.Monitor, name: str, file: int) -> None:
            if full.get():
                opened = os.open("/dev/full", os.O_RDWR)
                try:
                    await give(monitor, name, opened)
                finally:
                    os.close(opened)
            else:
                await give(monitor, name, file)

        qemu._Guest.save = saves  # type: ignore[assignment, method-assign]
        qmp.Monitor.give = gives  # type: ignore[assignment, method-assign]

    def _wrap(self, owner: Any, name: str) -> None:
        real: Callable[..., Any] = getattr(owner, name)
        if asyncio.iscoroutinefunction(real):

            async def stepped(*given: Any, **named: Any) -> Any:
                self._step(f"before {name}", given[0])
                done = await real(*given, **named)
                self._step(f"after {name}", given[0])
                return done

            setattr(owner, name, stepped)
        else:

            def at_once(*given: Any, **named: Any) -> Any:
                self._step(f"before {name}", given[0])
                done = real(*given, **named)
                self._step(f"after {name}", given[0])
                return done

            setattr(owner, name, at_once)

    def _step(self, step: str, of: Any) -> None:
        if self._notes.calm:
            return
        luck = self._rng.random()
        if luck < KILLS_NODE:
            self._notes.add(died=step, fault="nodes killed at a step of a sleep or a wake")
            os.kill(os.getpid(), signal.SIGKILL)
        elif luck < KILLS_NODE + KILLS_HYPERVISOR:
            folder = _folder(of)
            if kill(folder):
                told = "hypervisors killed at a step of a sleep or a wake"
                self._notes.add(broken=folder.name, step=step, fault=told)


def _folder(of: Any) -> Path:
    folder = of._folder if isinstance(of, qemu._Guest) else Path(of)
    return next(each for each in (folder, *folder.parents) if each.name.startswith("vm-"))


def kill(folder: Path) -> bool:
    """Whether a hypervisor ran there, which has been killed."""
    pid = power._pid(folder)
    if pid is None:
        return False
    os.kill(pid, signal.SIGKILL)
    return True


def is_hibernated(folder: Path) -> bool:
    return (folder / STATE).exists()
