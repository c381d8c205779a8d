"""What is measured: one way of standing between client and worker."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

from doorbench import worker
from doorbench.load import Target
from doorbench.machine import Cores, free_port, listens, running, until

TOKEN = "2fLPb3ZxkN8tQmWc5VhRyJ7uDsA4gEoX"  # good for nothing but this
SATELLITE = "acme/bench"
LOOK = 0.05  # seconds between two looks of a subject's at the file that says "asleep"
# C-core refuses calls that its server has not taken in yet beyond 1,000
PATIENT = (
    ("grpc.server.max_pending_requests", 100_000),
    ("grpc.server.max_pending_requests_hard_limit", 100_000),
)
CREDENTIALS = {"satellite": SATELLITE, "authorization": f"Bearer {TOKEN}"}


class Certificate(NamedTuple):
    """Files, PEM; for `localhost`."""

    chain: Path
    key: Path


@dataclass(frozen=True)
class Bench:
    """What every subject is given."""

    cores: Cores
    folder: Path
    certificate: Certificate
    files: int  # that a process may have open


class Subject:
    """Started once, measured in turns with the others, and stopped at the end."""

    name: ClassVar[str]
    resumes: ClassVar[bool] = True  # TLS sessions
    holds: ClassVar[bool] = False  # whether it can make a request wait for its worker

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.target = Target(0)
        self.pids: list[int] = []  # of the proxy, and of what it asks

    def __repr__(self) -> str:
        return f"<{type(self).__name__} on {self.target.port}>"

    @contextmanager
    def started(self) -> Iterator[None]:
        """It can be started again after it has ended."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            self.start(stack)
            yield
        self.pids.clear()

    def check(self) -> None:
        """
        Raises:
            Missing: something that it needs is not installed.
        """
        worker.command("0")

    @abstractmethod
    def start(self, stack: ExitStack) -> None:
        """Set `target` and `pids`; whatever is entered into `stack` lasts for the run."""

    def sleep(self) -> None:
        """From now on requests wait."""
        self._asleep.touch()
        time.sleep(4 * LOOK)

    def wake(self) -> None:
        """What waits goes on."""
        self._asleep.unlink()

    @property
    def folder(self) -> Path:
        return self.bench.folder / self.name.replace(" ", "-")

    @property
    def _asleep(self) -> Path:
        return self.folder / "asleep"

    def run(
        self,
        stack: ExitStack,
        *command: str,
        load: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> int:
        """Run a process of this subject's on the proxy's core, or on the load's; its pid."""
        core = self.bench.cores.load if load else self.bench.cores.proxy
        log = self.folder / f"{Path(command[0]).name}.log"
        process = stack.enter_context(running(command, core, log, environment))
        if not load:
            self.pids.append(process.pid)
        return process.pid

    def await_port(self, port: int) -> None:
        until(lambda: listens(port), f"{self.name} listens on {port}")


def ports() -> tuple[int, int]:
    """For plaintext, and for TLS."""
    return free_port(), free_port()
