"""Whether a machine's hypervisor runs, and who it is, as the kernel knows it.

The hypervisor holds a lock on the file `power` from before its first instruction until it is gone,
however it ends: it inherits the lock. No process number is believed: the one in `qemu.pid` is
asked of the kernel, which tells who has locked that file (fcntl(2), F_GETLK).
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from torpor_provisioner.vm.errors import HypervisorFailed

FILE, PID_FILE = "power", "qemu.pid"
_POLL = 0.005  # seconds
_TAKEN_WITHIN = 5.0  # others look at the lock for a moment each
_GONE_WITHIN = 20.0  # a killed process lets go of its memory first
_FLOCK = struct.Struct("hhqqi4x")  # struct flock of a 64-bit Linux


def is_on(folder: Path) -> bool:
    try:
        looked = os.open(folder / FILE, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(looked, fcntl.LOCK_SH | fcntl.LOCK_NB)  # lookers do not see one another
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(looked)


@contextmanager
def taken(folder: Path) -> Iterator[int]:
    """The lock, as a file descriptor for the hypervisor to inherit.

    Raises:
        HypervisorFailed: one runs there.
    """
    held = os.open(folder / FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        end = time.monotonic() + _TAKEN_WITHIN
        while True:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > end:
                    raise HypervisorFailed("another one runs in its folder") from None
                time.sleep(_POLL)
            else:
                break
        yield held
    finally:
        os.close(held)


async def gone(folder: Path, within: float = _GONE_WITHIN) -> bool:
    """Once nothing runs there; whether it came to that in time."""
    end = time.monotonic() + within
    while is_on(folder):
        if time.monotonic() > end:
            return False
        await asyncio.sleep(_POLL)
    return True


async def kill(folder: Path) -> None:
    """End what runs there. Nothing happens if nothing does.

    Raises:
        HypervisorFailed: it does not end.
    """
    end = time.monotonic() + _GONE_WITHIN
    while is_on(folder):
        pid = _pid(folder)  # none yet, of one that is about to start
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > end:
            raise HypervisorFailed("its process does not end")
        await asyncio.sleep(_POLL)


def _pid(folder: Path) -> int | None:
    try:
        file = os.open(folder / PID_FILE, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        query = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, pid = _FLOCK.unpack(fcntl.fcntl(file, fcntl.F_GETLK, query))
    finally:
        os.close(file)
    return pid if kind != fcntl.F_UNLCK and pid > 0 else None
