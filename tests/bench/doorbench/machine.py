"""Processes on chosen cores, and what they cost."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
HERE = str(Path(__file__).parents[1])  # where our own modules are found
PATIENCE = 60.0  # seconds until something that should have happened counts as broken


class Missing(Exception):
    """A program that this machine does not have; the message says how to get it."""


def program(name: str, package: str) -> str:
    """The path of `name`, also where only root's PATH has it.

    Raises:
        Missing: it is not installed.
    """
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if found is None:
        raise Missing(f"{name} is not here: apt-get install {package}")
    return found


@dataclass(frozen=True)
class Cores:
    """Where the load and the worker run, and where the proxy under test does, alone."""

    load: int
    proxy: int

    @classmethod
    def choose(cls) -> Cores:
        """Two different cores where there are two."""
        usable = sorted(os.sched_getaffinity(0))
        return cls(load=usable[0], proxy=usable[-1])


def allow_sockets() -> int:
    """Let this process and its children open as many files as the system lets them; how many."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def pinned(core: int, *command: str) -> list[str]:
    return [program("taskset", "util-linux"), "-c", str(core), *command]


@contextmanager
def running(
    command: Sequence[str], core: int, log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `command` on one core for as long as the context lasts."""
    with log.open("ab") as out:
        process = subprocess.Popen(
            pinned(core, *command),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env={**os.environ, "PYTHONPATH": HERE, **(environment or {})},
            start_new_session=True,
        )
    try:
        yield process
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def until(true: Callable[[], bool], what: str, patience: float = PATIENCE) -> None:
    """
    Raises:
        TimeoutError: it did not become true.
    """
    end = time.monotonic() + patience
    while not true():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {patience:g} s")
        time.sleep(0.02)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Cost(NamedTuple):
    """Of a process and all below it: seconds of CPU, octets of memory held."""

    cpu: float
    memory: int

    def since(self, before: Cost) -> Cost:
        return Cost(self.cpu - before.cpu, self.memory - before.memory)


def cost(pids: Sequence[int]) -> Cost:
    everyone = [each for pid in pids for each in _family(pid)]
    return Cost(sum(map(_cpu, everyone)), sum(map(_memory, everyone)))


def _family(pid: int) -> Iterator[int]:
    yield pid
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:
        return
    for child in children:
        yield from _family(int(child))


def _cpu(pid: int) -> float:
    # the name, in brackets, may hold spaces; user and system time are fields 14 and 15
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICK


def _memory(pid: int) -> int:
    """What the process alone holds: pages shared with others count by their share."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    for line in rollup.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0
