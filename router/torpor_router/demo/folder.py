"""The demo's folder, which one demo has to itself: the next one clears away what it finds there."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torpor_provisioner.errors import Status, TorporError
from torpor_router.serve.config import BadConfiguration


class DemoRuns(TorporError):
    code = "TPR-5402"
    status = Status.FAILED_PRECONDITION
    cause = "Another demo plays in this folder"
    remedy = "End that one, or give this one a folder and ports of its own: --data and --port"


@contextmanager
def held(data: Path) -> Iterator[Path]:
    """The folder, made if need be, for as long as the context lasts.

    The lock is flock(2): it ends with this process, however that ends.

    Raises:
        BadConfiguration: it cannot be made or written.
        DemoRuns: it is another's.
    """
    try:
        data.mkdir(parents=True, exist_ok=True)
        lock = (data / "demo.lock").open("w")
    except OSError as error:
        raise BadConfiguration(f"--data {data}: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DemoRuns(str(data)) from None
        yield data.absolute()
