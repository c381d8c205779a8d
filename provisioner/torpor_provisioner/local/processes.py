"""Which processes belong to a worker, told apart from any that later get the same number.

A pid alone is never trusted: it goes with the time its process was started, to the kernel's
clock tick, and with the boot. Signals go to every process group of the worker's session, so a
build that leads a group of its own is frozen and ended with its worker.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")
MARK = "TORPOR_LED_BY"
FREEZE_WAIT = 1.0  # seconds for every process to stop; one in a disk wait follows by itself
POLL = 0.002  # seconds


class Identity(NamedTuple):
    """One process of this boot, for ever."""

    pid: int
    started: str


class Process(NamedTuple):
    identity: Identity
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


def session_of(leader: Identity) -> list[Process]:
    """The living processes of the session that `leader` began.

    Where the leader is dead its number may have led another session since, so what is left of
    its own is known by the mark that it inherited.
    """
    led = find(leader) is not None
    return [
        process
        for process in _all()
        if process.session == leader.pid and process.alive and (led or _marked(process, leader))
    ]


def send(leader: Identity, number: signal.Signals) -> None:
    """Signal every process group of the session."""
    for group in {process.group for process in session_of(leader)}:
        with suppress(ProcessLookupError):
            os.killpg(group, number)


def freeze(leader: Identity) -> None:
    """SIGSTOP the session, again until none that was being forked meanwhile still runs."""
    end = time.monotonic() + FREEZE_WAIT
    while any(not process.frozen for process in session_of(leader)):
        send(leader, signal.SIGSTOP)
        if time.monotonic() > end:
            return
        time.sleep(POLL)


def kill(leader: Identity, patience: float) -> bool:
    """SIGKILL the session; whether nothing of it is left after `patience` seconds."""
    end = time.monotonic() + patience
    while session_of(leader):
        send(leader, signal.SIGKILL)
        if time.monotonic() > end:
            return False
        time.sleep(POLL)
    return True


def mark(leader: Identity) -> dict[str, str]:
    """What to add to the environment of a session, for when its leader is dead."""
    return {MARK: "/".join(map(str, leader))}


def _marked(process: Process, leader: Identity) -> bool:
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


def _all() -> Iterator[Process]:
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
    state, group, session, started = fields[0], int(fields[2]), int(fields[3]), fields[19]
    return Process(Identity(pid, f"{_boot()}/{started}"), group, session, state)


@cache
def _boot() -> str:
    return (PROC / "sys/kernel/random/boot_id").read_text().strip()


def _read_ps(*which: str) -> Iterator[Process]:
    """Elsewhere: ps(1), whose start times are whole seconds."""
    told = subprocess.run(  # noqa: S603 - the arguments are ours
        ["ps", *which, "-o", "pid=,pgid=,stat=,lstart="],  # noqa: S607 - ps stands in PATH
        capture_output=True,
        text=True,
        check=False,  # ps exits with 1 when there is no such process
        env={**os.environ, "LC_ALL": "C", "TZ": "UTC"},
    ).stdout
    for line in told.splitlines():
        pid, group, state, *started = line.split()
        with suppress(ProcessLookupError, PermissionError):
            session = os.getsid(int(pid))
            yield Process(Identity(int(pid), " ".join(started)), int(group), session, state[0])
