"""Proof of a node's death: a file that its process has a lock on for as long as it lives.

A process that is killed says nothing, and to the database its silence is not its death: its leases
count for a minute more. Its successor on the same machine, or the worker beside it, can know: the
kernel lets the lock go with the process, and never before.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import UUID

from torpor_statemachine import clock
from torpor_statemachine.postgres.pool import DatabaseAway

logger = logging.getLogger(__name__)

_BOOT = Path("/proc/sys/kernel/random/boot_id")


class Marks:
    """The marks of the nodes that share `folder`. A folder that cannot be written has none."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._boot = _BOOT.read_text().strip() if _BOOT.exists() else "here"
        self._own: tuple[Path, int] | None = None

    def set(self, node_id: UUID) -> None:
        """This process lives, as that node."""
        mark = self._folder / f"{node_id}.{self._boot}"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            made = mark.with_suffix(".new")
            lock = os.open(made, os.O_CREAT | os.O_WRONLY, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            made.rename(mark)  # which nobody has seen without its lock
        except OSError as error:
            logger.warning("if this process is killed its leases last for a minute: %s", error)
            return
        self._own = mark, lock

    def end(self, *, left: bool) -> None:
        """This node is over; `left`: nothing is to be freed for it any more."""
        if self._own is not None:
            mark, lock = self._own
            if left:
                mark.unlink(missing_ok=True)
            os.close(lock)
            self._own = None

    async def bury_for_ever(
        self, bury: Callable[[Sequence[UUID]], Awaitable[None]], every: float
    ) -> None:
        """Have `bury` free what nodes of this machine left behind that were killed."""
        while True:
            try:
                with self.dead() as dead:
                    if dead:
                        await bury(dead)
                        logger.warning("freed what %d dead nodes of this machine held", len(dead))
            except DatabaseAway:
                pass  # told by the heartbeat
            except OSError as error:
                logger.warning("whether nodes of this machine are dead is not known: %s", error)
            await asyncio.sleep(clock.jittered(every))

    @contextmanager
    def dead(self) -> Iterator[list[UUID]]:
        """Nodes whose process has ended. Their marks are removed after the block, if it succeeds.

        Only those of this machine since it was started: on a folder that several machines share, a
        lock may be let go for a machine that is merely cut off.
        """
        locks: dict[Path, int] = {}
        try:
            for mark in self._folder.glob(f"*.{self._boot}"):
                if (lock := _free(mark)) is not None:
                    locks[mark] = lock
            yield [UUID(mark.stem) for mark in locks]
            for mark in locks:
                mark.unlink(missing_ok=True)
        finally:
            for lock in locks.values():
                os.close(lock)


def _free(mark: Path) -> int | None:
    """A lock on it, if nobody has one."""
    with suppress(OSError, ValueError):
        UUID(mark.stem)
        lock = os.open(mark, os.O_WRONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
        else:
            return lock
    return None
