"""QEMU, one unprivileged process a machine.

Its folder is its working directory, so that no path of it is too long for a socket, and none of
another machine stands in its arguments.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torpor_provisioner.vm import power, qmp
from torpor_provisioner.vm.errors import (
    DiskFull,
    HypervisorFailed,
    HypervisorRefused,
    NoHypervisor,
    StateRefused,
)
from torpor_provisioner.vm.hypervisor import CACHE, DISK, MEMORY, Boot, Guest, Traits
from torpor_provisioner.vm.line import Line
from torpor_provisioner.vm.network import network

PROGRAMS = {"x86_64": "qemu-system-x86_64"}
KVM = Path("/dev/kvm")
LOG = "qemu.log"
_LAST_LINES = 2000  # octets of the log
_POLL = 0.005  # seconds, between two looks at a save or a load
_MOVED_WITHIN = 60.0  # seconds; the state is half a megabyte
_SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"


class Qemu:
    """`accelerator`: kvm, tcg, or empty: kvm where it can be had."""

    def __init__(self, accelerator: str = "", program: str = "") -> None:
        self._accelerator = accelerator
        self._program = program

    def traits(self) -> Traits:
        program = self._found()
        written = program.stat().st_mtime_ns
        accelerator = self._accelerator or ("tcg" if _without_kvm(str(program), written) else "kvm")
        if accelerator == "kvm" and (why := _without_kvm(str(program), written)):
            raise NoHypervisor(f"KVM cannot be used: {why}")
        version, machine = _known(str(program), written)
        cpu = f"host {_host_cpu()}" if accelerator == "kvm" else "max"
        return Traits(version, machine, cpu, accelerator)

    def devices(self, boot: Boot) -> tuple[str, ...]:
        traits = self.traits()
        return (
            *("-machine", f"{traits.machine},memory-backend=ram,vmport=off"),
            *("-accel", traits.accelerator, "-cpu", traits.cpu.split()[0]),
            *("-smp", str(boot.cpus), "-m", str(boot.memory)),
            *(word for drive in (DISK, CACHE) for word in _drive(drive)),
            *("-device", "virtio-net-pci,netdev=net,romfile="),
            *("-device", "virtio-serial-pci"),
            *("-device", "virtserialport,chardev=agent,name=torpor"),
            *("-device", "virtio-rng-pci", "-device", "vmgenid,guid=auto"),
        )

    async def start(self, folder: Path, boot: Boot, *, to_load: bool) -> Guest:
        program = self._found()
        Line.make(folder)
        listening = qmp.listening(folder)
        try:
            words = [
                str(program),
                *(boot.devices or self.devices(boot)),
                *_backends(boot, listening.fileno()),
                *(("-incoming", "defer") if to_load else ()),
            ]
            _own(folder, boot.account)
            line = qmp.connected(folder)  # waits in the queue of a QEMU that is yet to start
            await asyncio.to_thread(_spawn, words, folder, listening.fileno(), boot.account)
        finally:
            listening.close()
        try:
            return _Guest(folder, await qmp.Monitor.greeted(line))
        except HypervisorFailed as error:
            if await power.gone(folder, within=1.0):
                raise HypervisorRefused(last_lines(folder) or str(error)) from error
            await power.kill(folder)
            raise

    async def attach(self, folder: Path) -> Guest:
        return _Guest(folder, await qmp.Monitor.greeted(qmp.connected(folder)))

    def is_on(self, folder: Path) -> bool:
        return power.is_on(folder)

    async def kill(self, folder: Path) -> None:
        await power.kill(folder)

    def last_words(self, folder: Path) -> str:
        return last_lines(folder)

    def _found(self) -> Path:
        name = self._program or PROGRAMS.get(platform.machine(), "")
        found = shutil.which(name) if name else None
        if found is None:
            raise NoHypervisor(
                f"{name} is not installed" if name else f"there is none for {platform.machine()}"
            )
        return Path(found)


@dataclass(slots=True)
class _Guest:
    _folder: Path
    _monitor: qmp.Monitor

    async def load(self, state: Path) -> None:
        await self._ignore_memory()
        file = os.open(state, os.O_RDONLY | os.O_CLOEXEC)
        try:
            await self._monitor.give("state", file)
        finally:
            os.close(file)
        try:
            await self._monitor.ask("migrate-incoming", uri="fd:state")
            await self._moved()
        except HypervisorFailed as error:
            if await power.gone(self._folder, within=1.0):  # it ends when a state does not fit
                raise StateRefused(last_lines(self._folder)) from error
            raise StateRefused(error.detail) from error

    async def go(self) -> None:
        await self._monitor.ask("cont")

    async def save(self, state: Path) -> None:
        await self._monitor.ask("stop")
        await self._ignore_memory()
        file = os.open(state, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            await self._monitor.give("state", file)
        finally:
            os.close(file)
        await self._monitor.ask("migrate", uri="fd:state")
        try:
            await self._moved()
        except HypervisorFailed as error:
            if "No space" in error.detail or _is_full(state):
                raise DiskFull(f"its state cannot be written: {error.detail}") from error
            raise

    async def is_saved(self) -> bool:
        moved = await self._monitor.ask("query-migrate")
        return bool(moved.get("status") == "completed")

    async def power_button(self) -> None:
        await self._monitor.ask("system_powerdown")

    async def tell(self, line: str, within: float) -> bool:
        return await Line(self._folder).tell(line, within)

    async def end(self) -> None:
        try:
            await self._monitor.ask("quit")
        except HypervisorFailed:
            await power.kill(self._folder)
        await self._monitor.hang_up()
        if not await power.gone(self._folder):
            await power.kill(self._folder)

    async def hang_up(self) -> None:
        await self._monitor.hang_up()

    async def _ignore_memory(self) -> None:
        """It is a file, and stays one."""
        wanted = [{"capability": "x-ignore-shared", "state": True}]
        await self._monitor.ask("migrate-set-capabilities", capabilities=wanted)

    async def _moved(self) -> None:
        async with asyncio.timeout(_MOVED_WITHIN):
            while True:
                moved = await self._monitor.ask("query-migrate")
                match moved.get("status"):
                    case "completed":
                        return
                    case "failed" | "cancelled":
                        raise HypervisorFailed(moved.get("error-desc", "the state was not moved"))
                await asyncio.sleep(_POLL)


def last_lines(folder: Path) -> str:
    """What QEMU has said last."""
    try:
        text = (folder / LOG).read_bytes()[-_LAST_LINES:].decode(errors="replace")
    except FileNotFoundError:
        return ""
    lines = [line.strip() for line in text.splitlines()[-3:]]
    return "".join(c if c.isprintable() else " " for c in " | ".join(filter(None, lines)))


def _drive(name: str) -> tuple[str, ...]:
    # A disk of ours that is full is an error to the guest; else QEMU would make it stand still.
    drive = f"file={name},format=qcow2,discard=unmap,if=none,id={name},werror=report,rerror=report"
    return ("-drive", drive, "-device", f"virtio-blk-pci,drive={name},serial=torpor-{name}")


def _backends(boot: Boot, monitor: int) -> tuple[str, ...]:
    """What is not part of a saved state."""
    memory = f"memory-backend-file,id=ram,size={boot.memory}M,mem-path={MEMORY},share=on"
    return (
        *("-name", "torpor", "-nodefaults", "-no-user-config", "-display", "none"),
        *("-pidfile", power.PID_FILE, "-sandbox", _SANDBOX, "-rtc", "base=utc"),
        *("-object", memory),
        *("-kernel", str(boot.kernel), "-initrd", str(boot.initrd), "-append", boot.append),
        *("-netdev", network(boot.worker_port, boot.identity_port, is_open=boot.is_open)),
        *("-chardev", f"pipe,id=agent,path={Line.NAME}"),
        *("-chardev", "ringbuf,id=console,size=64K", "-serial", "chardev:console"),
        *("-chardev", f"socket,id=monitor,fd={monitor},server=on,wait=off"),
        *("-mon", "chardev=monitor,mode=control"),
    )


def _spawn(words: Sequence[str], folder: Path, monitor: int, account: int | None) -> None:
    """Start it in a session of its own, without a parent: it outlives the router."""
    with power.taken(folder) as held, (folder / LOG).open("wb") as log:
        try:
            subprocess.run(  # noqa: S603 - QEMU, with arguments of our own
                ["setsid", "--fork", *words],  # noqa: S607 - it stands in PATH
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": os.defpath},  # nothing of the router's
                pass_fds=(monitor, held),
                user=account,
                group=account,
                extra_groups=[KVM.stat().st_gid] if account and KVM.exists() else None,
                check=True,
                timeout=30,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise HypervisorFailed(f"it cannot be started: {error}") from error


def _own(folder: Path, account: int | None) -> None:
    if account is not None:
        for path in (folder, *folder.iterdir()):
            os.chown(path, account, account, follow_symlinks=False)


@functools.cache
def _without_kvm(program: str, _written: int) -> str:
    """Why KVM cannot be used; empty, if it can. A machine that is itself virtual may have one that
    runs nothing: only a try tells."""
    if not os.access(KVM, os.R_OK | os.W_OK):
        return f"{KVM} is not there, or is not this account's"
    words = [program, "-accel", "kvm", "-machine", "q35", "-cpu", "host", "-m", "16", "-S"]
    words += ["-nodefaults", "-no-user-config", "-display", "none", "-qmp", "stdio"]
    commands = '{"execute": "qmp_capabilities"} {"execute": "quit"}'
    try:
        done = subprocess.run(  # noqa: S603 - QEMU
            words, input=commands, capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    return "" if done.returncode == 0 else (done.stderr.strip()[-300:] or "QEMU ended at once")


def _is_full(state: Path) -> bool:
    there = os.statvfs(state.parent)
    return there.f_bavail * there.f_frsize < 1 << 20


@functools.cache
def _host_cpu() -> str:
    """Two hosts whose processors differ get different ones."""
    text = Path("/proc/cpuinfo").read_text()
    lines = sorted(set(re.findall(r"^(?:model name|flags|microcode)\s*: .*", text, re.MULTILINE)))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


@functools.cache
def _known(program: str, _written: int) -> tuple[str, str]:
    """The version and the newest machine type of this program, as long as it is the same file."""
    version = _output_of(program, "--version")
    machines = _output_of(program, "-machine", "help")
    found = re.search(r"version (\S+(?: \(.*?\))?)", version)
    newest = re.search(r"^q35 .*\(alias of (\S+)\)", machines, re.MULTILINE)
    if not found or not newest:
        raise NoHypervisor(f"{program} does not know itself: {version.strip()[:200]}")
    return found[1], newest[1]


def _output_of(*words: str) -> str:
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)  # noqa: S603
    except (OSError, subprocess.SubprocessError) as error:
        raise NoHypervisor(f"{words[0]}: {error}") from error
    return done.stdout
