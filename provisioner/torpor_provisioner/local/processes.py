"""The process table, with processes told apart from any that later get the same number.

A pid alone is never trusted: it goes with the time its process was started, to the kernel's
clock tick, and with the boot.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")
MARK = "TORPOR_LED_BY"


class Identity(NamedTuple):
    """One process of this boot, for ever."""

    pid: int
    started: str


class Process(NamedTuple):
    identity: Identity
    parent: int
    group: int
    session: int
    state: str  # ps(1)'s letter: T stopped, Z dead and not yet collected, ...

    @property
    def alive(self) -> bool:
        return self.state not in {"Z", "X"}

    @property
    def frozen(self) -> bool:
        return self.state in {"T", "t"}


def find(identity: Identity) -> Process | None:
    """That process, unless it is dead."""
    process = _read(identity.pid)
    if process is None or process.identity != identity or not process.alive:
        return None
    return process


def me() -> Identity:
    process = _read(os.getpid())
    assert process is not None
    return process.identity


def mark(leader: Identity) -> dict[str, str]:
    """What to add to the environment of a session, for when its leader is dead."""
    return {MARK: "/".join(map(str, leader))}


def is_marked(process: Process, leader: Identity) -> bool:
    """Whether its environment says that `leader` led it here. Linux alone tells."""
    [(name, value)] = mark(leader).items()
    try:
        environment = (PROC / str(process.identity.pid) / "environ").read_bytes()
    except OSError:  # gone, another user's, or no Linux: not ours to signal
        return False
    return f"{name}={value}".encode() in environment.split(b"\0")


def _read(pid: int) -> Process | None:
    if (PROC / "self").exists():
        return _read_proc(pid)
    return next(_read_ps("-p", str(pid)), None)


def table() -> Iterator[Process]:
    """Every process of this machine, dead ones that nobody has collected among them."""
    if (PROC / "self").exists():
        for folder in PROC.iterdir():
            if folder.name.isdecimal():
                process = _read_proc(int(folder.name))
                if process is not None:
                    yield process
    else:
        yield from _read_ps("-A")


def _read_proc(pid: int) -> Process | None:
    """Linux: proc_pid_stat(5). The name in brackets may hold anything, so count from its end."""
    try:
        stat = (PROC / str(pid) / "stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()
    state, started = fields[0], fields[19]
    parent, group, session = map(int, fields[1:4])
    return Process(Identity(pid, f"{_boot()}/{started}"), parent, group, session, state)


@cache
def _boot() -> str:
    return (PROC / "sys/kernel/random/boot_id").read_text().strip()


def _read_ps(*which: str) -> Iterator[Process]:
    """Elsewhere: ps(1), whose start times are whole seconds."""
    output = subprocess.run(  # noqa: S603 - the arguments are ours
        ["ps", *which, "-o", "pid=,ppid=,pgid=,stat=,lstart="],  # noqa: S607 - ps stands in PATH
        capture_output=True,
        text=True,
        check=False,  # ps exits with 1 when there is no such process
        env={**os.environ, "LC_ALL": "C", "TZ": "UTC"},
    ).stdout
    for line in output.splitlines():
        pid, parent, group, state, *started = line.split()
        with suppress(ProcessLookupError, PermissionError):
            session = os.getsid(int(pid))
            identity = Identity(int(pid), " ".join(started))
            yield Process(identity, int(parent), int(group), session, state[0])
