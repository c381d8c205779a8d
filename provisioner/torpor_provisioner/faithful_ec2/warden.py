"""`python -m torpor_provisioner.faithful_ec2.warden FOLDER`: end the workers when their owner ends.

A worker is no child of the server, and a server that is killed can end nothing. So it keeps this
process beside it, at the other end of a pipe that only it holds open: when the pipe ends, however
that came about, so do all workers below the folder.
"""

from __future__ import annotations

import fcntl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from torpor_provisioner.local.worker import Worker

PATIENCE = 30.0  # seconds for all workers to end


@contextmanager
def locked(machine: Path) -> Iterator[int]:
    """Hold one machine's lock, as a launch that is under way does; gives its descriptor."""
    with (machine / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock.fileno()


def end_workers(folder: Path) -> None:
    """Kill whatever runs for the machines below `folder`, and whatever is about to."""
    for lock in folder.glob("*/lock"):
        with locked(lock.parent):
            Worker(lock.parent).kill()


class Warden:
    """One at work: from `with` until its end, or the end of this process."""

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-m", __name__, str(folder)],
            stdin=subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C is for its owner
        )

    def __repr__(self) -> str:
        return f"<Warden {self._process.pid}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Have it end the workers, and wait for it."""
        self._process.communicate(timeout=PATIENCE)


if __name__ == "__main__":
    sys.stdin.read()
    end_workers(Path(sys.argv[1]))
