"""How much the machine does for others while something is measured."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from doorbench.machine import TICK, cost
from doorbench.worker import folder

CALM = 0.3  # cores; interrupts that serve our own packets are in it
_PAUSE = 1.0  # seconds before something is measured again

Value = TypeVar("Value")


def undisturbed(measure: Callable[[], Value], tries: int) -> tuple[Value, float]:
    """The least disturbed of so many tries, and how many cores others used meanwhile."""
    best: tuple[Value, float] | None = None
    for _ in range(tries):
        value, others = _watched(measure)
        if best is None or others < best[1]:
            best = value, others
        if others < CALM:
            break
        time.sleep(_PAUSE)
    assert best is not None
    return best


def _watched(measure: Callable[[], Value]) -> tuple[Value, float]:
    began, ours, all_ = time.monotonic(), _ours(), _everybodys()
    value = measure()
    seconds = time.monotonic() - began
    others = (_everybodys() - all_) - (_ours() - ours)
    return value, max(0.0, others / seconds)


def _everybodys() -> float:
    """Seconds of CPU that the machine has spent on anything."""
    fields = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    return (sum(fields[:3]) + sum(fields[5:8])) / TICK  # without idle and waiting


def _ours() -> float:
    """What of that was for this process, those below it, and the workers of satellites."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    family = cost([os.getpid(), *_satellites()]).cpu
    return family + ended.ru_utime + ended.ru_stime


def _satellites() -> list[int]:
    """Workers that `torpor serve` has started: they have no parent."""
    mine = str(folder()).encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            told = (process / "cmdline").read_bytes()
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
        if mine in told and parent == 1:
            found.append(int(process.name))
    return found
