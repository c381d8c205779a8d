"""Golden snapshots: a machine of an image, booted until its worker answers, and saved there.

A machine that is launched is a copy of one, woken and told who it is: that takes as long as a wake,
and not as a boot. There is one for each size and each hypervisor that it was made with.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from torpor_provisioner.vm import disks, sparse
from torpor_provisioner.vm.errors import ImageNotMade
from torpor_provisioner.vm.hypervisor import CACHE, DISK, MEMORY, STATE, Boot, Hypervisor, Traits
from torpor_provisioner.vm.image import Image
from torpor_provisioner.vm.image.folder import locked
from torpor_provisioner.vm.network import HOST, free_ports

FILE = "golden.json"
FILES = (DISK, CACHE, MEMORY, STATE)
BOOTS_WITHIN = 600.0  # seconds, under emulation on a busy host
_POLL = 0.2


@dataclass(frozen=True, slots=True)
class Golden:
    """`devices` are those of the machine that was saved; its copies must have the same."""

    folder: Path
    devices: tuple[str, ...]

    def copy(self, folder: Path) -> None:
        """Into a machine's folder.

        Raises:
            DiskFull: there is no room for it.
        """
        for name in FILES:
            sparse.copy(self.folder / name, folder / name)


def find(image: Image, memory: int, cpus: int, traits: Traits) -> Golden | None:
    """The one that a machine of this size could be a copy of, if it has been made."""
    folder = _folder(image, memory, cpus, traits)
    try:
        stored = json.loads((folder / FILE).read_text())
    except FileNotFoundError:
        return None
    return Golden(folder, tuple(stored["devices"]))


async def make(
    image: Image, memory: int, cpus: int, hypervisor: Hypervisor, within: float = BOOTS_WITHIN
) -> Golden:
    """Boot and save one, if there is none. Of several that ask, one does it.

    Raises:
        ImageNotMade: no worker answers in it in time.
        ProvisionerError: as the hypervisor says.
    """
    traits = hypervisor.traits()
    folder = _folder(image, memory, cpus, traits)
    folder.parent.mkdir(exist_ok=True)
    lock = locked(folder.with_suffix(".lock"))
    await asyncio.to_thread(lock.__enter__)
    try:
        found = find(image, memory, cpus, traits)
        if found is None:
            await _make(image, (memory, cpus), hypervisor, folder, within)
            found = find(image, memory, cpus, traits)
    finally:
        lock.__exit__(None, None, None)
    assert found is not None
    return found


async def _make(
    image: Image, size: tuple[int, int], hypervisor: Hypervisor, folder: Path, within: float
) -> None:
    memory, cpus = size
    part = folder.with_suffix(".part")
    if part.exists():
        await hypervisor.kill(part)
        shutil.rmtree(part)
    part.mkdir()
    disks.make(image, part)
    worker, identity = free_ports(2, ())
    boot = Boot(image.kernel, image.initrd, image.append, memory, cpus, worker, identity)
    devices = hypervisor.devices(boot)
    sparse.reserve(part / MEMORY, memory << 20)
    guest = await hypervisor.start(part, boot, to_load=False)
    try:
        end = time.monotonic() + within
        while not (await _greets(worker) and await guest.tell(f"clock {time.time():.6f}", 2.0)):
            if time.monotonic() > end or not hypervisor.is_on(part):
                said = hypervisor.last_words(part)
                raise ImageNotMade(f"no worker answers in {image.name} after {within:g} s {said}")
            await asyncio.sleep(_POLL)
        await guest.save(part / STATE)
        await guest.end()
    finally:
        await guest.hang_up()
        await hypervisor.kill(part)
    await asyncio.to_thread(sparse.release, part / MEMORY)
    for name in FILES:
        (part / name).chmod(0o644)
    stored = {"devices": devices, "traits": asdict(hypervisor.traits())}
    (part / FILE).write_text(json.dumps(stored))
    await asyncio.to_thread(os.sync)
    part.replace(folder)


async def _greets(port: int) -> bool:
    """Whether an HTTP/2 server is there: its first frame is SETTINGS (RFC 9113, section 3.4)."""
    try:
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection(HOST, port)
            try:
                writer.write(
                    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
                )
                return (await reader.readexactly(9))[3] == 4
            finally:
                writer.transport.abort()
    except (OSError, EOFError, TimeoutError):
        return False


def _folder(image: Image, memory: int, cpus: int, traits: Traits) -> Path:
    key = f"{memory} {cpus} {json.dumps(asdict(traits), sort_keys=True)}"
    return image.folder / "golden" / hashlib.sha256(key.encode()).hexdigest()[:16]
