"""The memory of a machine that sleeps for long, compressed: `memory.zst` takes `memory`'s place.

Where `memory.zst` is, it is the memory, whole, for as long as the `state` is there that belongs to
it; a `memory` beside it is stale, or half of one. So each step may be cut off:

    compress    to `memory.zst.part`, beside the machine's lock: it may wake meanwhile
    commit      under its lock: rename to `memory.zst`, then unlink `memory`
    restore     at a wake: to a new `memory`
    forget      once the state is used up, and before the next one is written

The program is Debian's `zstd`, at the lowest priority: a node's own process neither waits for it
nor holds its memory.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from torpor_provisioner.errors import NotReady
from torpor_provisioner.vm import safely, sparse
from torpor_provisioner.vm.errors import DiskFull, HypervisorFailed, NoHypervisor, StateRefused
from torpor_provisioner.vm.hypervisor import COMPRESSED, COMPRESSING, MEMORY

PROGRAM = "zstd"
LOCK = "compressing.lock"
MOST = 16 << 30  # octets on the disk: what is larger would take a wake too long
_LEVEL = "-1"  # the next ones take twice as long for a tenth less
_POLL = 0.1  # seconds between two looks whether to go on
_SAID = 500  # octets of its complaint


def is_here() -> bool:
    return shutil.which(PROGRAM) is not None


def exists(folder: Path) -> bool:
    return (folder / COMPRESSED).exists()


@contextmanager
def alone(folder: Path) -> Iterator[int | None]:
    """The right to compress on this host, one memory at a time; None: another one is at it.

    The program inherits it: it may outlive the node that has started it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield lock
    finally:
        os.close(lock)


async def compress(folder: Path, lock: int, going: Callable[[], bool]) -> bool:
    """Write `memory.zst.part` and put it safely on the disk; False: `going` came untrue meanwhile.

    Raises:
        DiskFull: there is no room for it.
        HypervisorFailed: the program has failed.
    """
    part = folder / COMPRESSING
    part.unlink(missing_ok=True)  # that of a node that was killed, which may still be written to
    old = os.open(folder / MEMORY, os.O_RDONLY | os.O_CLOEXEC)
    new = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    whole = False
    try:
        words = ("nice", "-n", "19", PROGRAM, _LEVEL, "-q", "-c")
        whole = await _run(words, old, new, going, lock)
    finally:
        os.close(old)
        os.close(new)
        if not whole:
            part.unlink(missing_ok=True)
    if whole:
        await asyncio.to_thread(safely.sync, part)
    return whole


def commit(folder: Path) -> None:
    """What was compressed is the memory from here on. May be done again."""
    part = folder / COMPRESSING
    if part.exists():
        part.replace(folder / COMPRESSED)
    safely.sync_folder(folder)
    tidy(folder)


def tidy(folder: Path) -> None:
    """Remove what is not the memory, of a machine that hibernates."""
    if exists(folder):
        (folder / MEMORY).unlink(missing_ok=True)


async def restore(folder: Path, size: int, going: Callable[[], bool]) -> None:
    """Write `memory` from `memory.zst`, with room on the disk for all of it.

    Raises:
        NotReady: `going` has come untrue meanwhile.
        DiskFull: there is no room for it.
        NoHypervisor: the program is not here any more.
        StateRefused: it is damaged.
    """
    memory = folder / MEMORY
    memory.unlink(missing_ok=True)
    await asyncio.to_thread(sparse.reserve, memory, size)
    old = os.open(folder / COMPRESSED, os.O_RDONLY | os.O_CLOEXEC)
    new = os.open(memory, os.O_RDWR | os.O_CLOEXEC)
    try:
        if not await _run((PROGRAM, "-d", "-q", "-c", "--sparse"), old, new, going):
            raise NotReady("no time is left to decompress its memory")
    except HypervisorFailed as error:
        raise StateRefused(f"its compressed memory: {error.detail}") from error
    finally:
        os.close(old)
        os.close(new)


def forget(folder: Path) -> None:
    """Once its state is used up; no later state may ever find it, whatever happens to the host."""
    (folder / COMPRESSING).unlink(missing_ok=True)
    if exists(folder):
        (folder / COMPRESSED).unlink()
        safely.sync_folder(folder)


async def _run(
    words: tuple[str, ...], old: int, new: int, going: Callable[[], bool], *kept: int
) -> bool:
    """Whether it came to its end, which was a good one."""
    try:
        running = await asyncio.create_subprocess_exec(
            *words, stdin=old, stdout=new, stderr=asyncio.subprocess.PIPE, pass_fds=kept
        )
    except FileNotFoundError:
        raise NoHypervisor(f"{PROGRAM} is not installed, and its memory is compressed") from None
    saying = asyncio.ensure_future(running.communicate())
    try:
        while not saying.done():
            await asyncio.wait((saying,), timeout=_POLL)
            if not going():
                return False
        _, said = await saying
    finally:
        if running.returncode is None:
            with suppress(ProcessLookupError):
                running.kill()
            await running.wait()
    if running.returncode == 0:
        return True
    reason = said[-_SAID:].decode(errors="replace").strip()
    full = os.strerror(errno.ENOSPC) in reason
    raise (DiskFull if full else HypervisorFailed)(reason or f"it ended by {running.returncode}")
