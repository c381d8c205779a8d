"""The lock of one machine: held by the one process that moves it, let go by the kernel."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from torpor_provisioner import deadline
from torpor_provisioner.errors import Gone, NotReady

FILE = "lock"
_POLL = 0.01  # seconds


@asynccontextmanager
async def locked(folder: Path, *, wait: bool = True) -> AsyncIterator[None]:
    """Hold the lock of the machine in this folder.

    Raises:
        Gone: there is no such machine, or it went while we waited.
        NotReady: the time of the call was up before; or it is held, and we do not wait.
    """
    file = folder / FILE
    try:
        lock = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        raise Gone(f"no machine {folder.name}") from None
    try:
        while not _taken(lock):
            if not wait:
                raise NotReady(f"{folder.name} is being moved")
            deadline.check(folder.name)
            await asyncio.sleep(_POLL)
        if wait:
            deadline.check(folder.name)
        if not _is_same(lock, file):
            raise Gone(f"machine {folder.name} was terminated meanwhile")
        yield
    finally:
        os.close(lock)


def _taken(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_same(lock: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(lock), file.stat())
    except FileNotFoundError:
        return False
