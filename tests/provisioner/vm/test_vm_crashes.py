"""The router, the hypervisor or the whole host is killed at every step of a sleep and of a wake,
and of what becomes of a memory that sleeps for long.

Afterwards the machine runs, or hibernates with the memory that it had, or is as after a power
failure. Each step is a call that changes something; the crash comes before it or after it.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from vmkit.machines import WITHIN, becomes, folder_of, needs_qemu, observe

from torpor_provisioner import identity
from torpor_provisioner.contract import MachineState, Observed, SleepKind
from torpor_provisioner.errors import ProvisionerError
from torpor_provisioner.vm import VmProvisioner, compressed, power, qemu, qmp, safely, sparse
from torpor_provisioner.vm.hypervisor import MEMORY, SAVING, STATE

pytestmark = [needs_qemu, pytest.mark.timeout(600)]
AT_REST = {MachineState.RUNNING, MachineState.ASLEEP}


class Died(BaseException):
    """Nothing of the router's goes on from here."""


class Crash:
    """At the step of that name: ends the hypervisor, the router, or both."""

    def __init__(self, folder: Path, at: str, *, hypervisor: bool, router: bool) -> None:
        self._folder, self._at = folder, at
        self._hypervisor, self._router = hypervisor, router
        self.happened = False

    async def step(self, name: str) -> None:
        if name != self._at or self.happened:
            return
        self.happened = True
        if self._hypervisor:
            await power.kill(self._folder)
        if self._router:
            raise Died(name)

    def wraps(self, patch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
        real = getattr(owner, name)
        if asyncio.iscoroutinefunction(real):

            async def stepped(*arguments: Any, **named: Any) -> Any:
                await self.step(f"before {name}")
                given = await real(*arguments, **named)
                await self.step(f"after {name}")
                return given

            patch.setattr(owner, name, stepped)
        else:

            def at_once(*arguments: Any, **named: Any) -> Any:
                self._now(f"before {name}")
                given = real(*arguments, **named)
                self._now(f"after {name}")
                return given

            patch.setattr(owner, name, at_once)

    def _now(self, name: str) -> None:
        """In the middle of what is not awaited: a thread may wait for the end of a process."""
        if name == self._at and not self.happened:
            failed: list[BaseException] = []

            def crash() -> None:
                try:
                    asyncio.run(self.step(name))
                except Died as died:
                    failed.append(died)

            thread = threading.Thread(target=crash)
            thread.start()
            thread.join()
            if failed:
                raise failed[0]


SLEEP = ("save", "is_saved", "sync", "sync_folder", "end", "release")
WAKE = ("load", "sync_folder", "go", "tell")
COMPRESS = ("compress", "sync", "commit", "sync_folder", "tidy")
RESTORE = ("restore", "load", "sync_folder", "go", "forget", "tell")  # a wake from what these wrote
OF_COMPRESSED = {"compress", "commit", "tidy", "restore", "forget"}
OF_GUEST = {"save", "is_saved", "end", "load", "go", "tell"}
Make = Callable[..., VmProvisioner]


async def boot_id(seen: Observed) -> str:
    assert seen.identity is not None
    async with asyncio.timeout(WITHIN):
        while (who := await identity.read(seen.identity, 10)) is None:
            await asyncio.sleep(0.05)
    return who.boot_id


async def settled(provisioner: VmProvisioner, ref: str) -> Observed:
    """What it has come to; two looks in a row agree."""
    async with asyncio.timeout(WITHIN):
        before = await observe(provisioner, ref)
        while True:
            await asyncio.sleep(0.2)
            seen = await observe(provisioner, ref)
            if seen.state in AT_REST and seen == before:
                return seen
            before = seen


def owner(name: str) -> Any:
    if name in OF_GUEST:
        return qemu._Guest
    if name == "release":
        return sparse
    return compressed if name in OF_COMPRESSED else safely


async def compress(provisioner: VmProvisioner, ref: str) -> None:
    """As a look does when it has slept for long."""
    with compressed.alone(provisioner.folder) as lock:
        assert lock is not None
        await provisioner._machines.machine(ref).compress(lock)


async def attempt(call: Awaitable[None]) -> None:
    try:
        await call
    except (Died, ProvisionerError):
        return


async def crashed(
    vm: Make, spec, tmp_path: Path, patch: pytest.MonkeyPatch, at: str, who: str, asked: str
) -> tuple[str, VmProvisioner, str]:
    """A machine whose sleep or wake met the crash, a router that finds it, and its boot before."""
    one = vm()
    ref = await one.launch(spec(), "token")
    before = await boot_id(await becomes(one, ref, MachineState.RUNNING))
    if asked != "sleep":
        await one.sleep(ref, SleepKind.HIBERNATED)
        await becomes(one, ref, MachineState.ASLEEP)
    if asked == "restore":
        await compress(one, ref)
    folder = folder_of(tmp_path, ref)
    crash = Crash(
        folder, at, hypervisor=who in {"hypervisor", "host"}, router=who in {"router", "host"}
    )
    with patch.context() as patched:
        for name in {*SLEEP, *WAKE, *COMPRESS, *RESTORE}:
            crash.wraps(patched, owner(name), name)
        if asked == "sleep":
            await attempt(one.sleep(ref, SleepKind.HIBERNATED))
            async with asyncio.timeout(WITHIN):
                while one._settling:
                    await asyncio.sleep(0.01)
        elif asked == "compress":
            await attempt(compress(one, ref))
        else:
            await attempt(one.wake(ref))
    assert crash.happened, f"there is no step {at!r} in a {asked}"
    return ref, vm(), before


async def is_whole(provisioner: VmProvisioner, ref: str, before: str, tmp_path: Path) -> None:
    seen = await settled(provisioner, ref)
    folder = folder_of(tmp_path, ref)
    assert not (folder / SAVING).exists()
    if seen.state is MachineState.ASLEEP and seen.sleep_kind is SleepKind.STOPPED:
        assert not (folder / STATE).exists(), "an old memory must never be found"
        assert not (folder / MEMORY).exists()
        assert seen.detail, "the history says why"
        return
    if seen.state is MachineState.ASLEEP:
        memory = folder / MEMORY
        if memory.exists():
            assert sparse.blocks(memory) < memory.stat().st_size, "it costs what it has touched"
        await provisioner.wake(ref)
        seen = await becomes(provisioner, ref, MachineState.RUNNING)
    assert await boot_id(seen) == before
    assert not (folder / STATE).exists(), "what runs must not be resumed once more"
    assert not compressed.exists(folder), "no later sleep may find an older memory"


STEPS = [("sleep", f"{when} {name}") for name in SLEEP for when in ("before", "after")]
STEPS += [("wake", f"{when} {name}") for name in WAKE for when in ("before", "after")]
STEPS += [("compress", f"{when} {name}") for name in COMPRESS for when in ("before", "after")]
STEPS += [("restore", f"{when} {name}") for name in RESTORE for when in ("before", "after")]
WHO = ("router", "hypervisor", "host")
# One on each side of both points of no return; the others with the slow tests.
QUICK = {
    ("sleep", "before sync", "host"),
    ("sleep", "before end", "router"),
    ("wake", "after load", "host"),
    ("wake", "after go", "router"),
    ("compress", "before tidy", "router"),
    ("restore", "before forget", "router"),
}


@pytest.mark.parametrize(
    ("asked", "at", "who"),
    [
        pytest.param(asked, at, who, marks=[] if (asked, at, who) in QUICK else pytest.mark.slow)
        for asked, at in STEPS
        for who in (WHO if asked != "compress" else ("router",))  # then no hypervisor runs
    ],
)
async def test_a_crash_leaves_a_whole_machine(vm, spec, tmp_path, monkeypatch, asked, at, who):
    ref, after, before = await crashed(vm, spec, tmp_path, monkeypatch, at, who, asked)
    await is_whole(after, ref, before, tmp_path)
    await after.terminate(ref)
    assert not [p for p in (tmp_path / "vm").rglob("*") if ref in str(p)]


async def test_a_host_that_is_switched_off_finds_who_hibernated_and_who_ran(vm, spec, tmp_path):
    """All hypervisors are gone at once; so it is after a reboot."""
    one = vm()
    runs, sleeps = [await one.launch(spec(), token) for token in ("runs", "sleeps")]
    before = await boot_id(await becomes(one, sleeps, MachineState.RUNNING))
    await one.sleep(sleeps, SleepKind.HIBERNATED)
    await becomes(one, sleeps, MachineState.ASLEEP)
    await power.kill(folder_of(tmp_path, runs))
    other = vm()
    lost = await becomes(other, runs, MachineState.ASLEEP)
    assert lost.sleep_kind is SleepKind.STOPPED
    assert "ended while it was running" in lost.detail
    assert not (folder_of(tmp_path, runs) / MEMORY).exists(), "it takes no room"
    await other.wake(sleeps)
    assert await boot_id(await becomes(other, sleeps, MachineState.RUNNING)) == before


async def test_a_disk_that_is_full_puts_nobody_to_sleep_and_ends_nobody(
    vm, spec, tmp_path, monkeypatch
):
    one = vm()
    ref = await one.launch(spec(), "token")
    before = await boot_id(await becomes(one, ref, MachineState.RUNNING))
    full = os.open("/dev/full", os.O_RDWR)
    give = qmp.Monitor.give

    async def gives_what_is_full(self: qmp.Monitor, name: str, _file: int) -> None:
        await give(self, name, full)

    with monkeypatch.context() as patched:
        patched.setattr(qmp.Monitor, "give", gives_what_is_full)
        with pytest.raises(ProvisionerError, match="No space left"):
            await one.sleep(ref, SleepKind.HIBERNATED)
    os.close(full)
    seen = await becomes(one, ref, MachineState.RUNNING)
    assert "TPR" not in seen.detail
    assert await boot_id(seen) == before
    await one.sleep(ref, SleepKind.HIBERNATED)
    assert (await becomes(one, ref, MachineState.ASLEEP)).sleep_kind is SleepKind.HIBERNATED
