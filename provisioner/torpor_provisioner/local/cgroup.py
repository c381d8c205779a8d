"""A cgroup for each worker, where this machine lets us make one (cgroups(7), version 2).

Whatever a build does with its sessions, parents and environment, it stays in the cgroup that it was
born in, unless it may write to another one: root may, and runc puts its containers into their own.
So a cgroup completes what `tree` finds by descent, and replaces none of it.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
OWN = Path("/proc/self/cgroup")
_PREFIX = "torpor-"


def make(name: str, write_down: Callable[[Path], object]) -> Path | None:
    """A new and empty one below this process's own, written down before it is there; None where
    there can be none.

    `name` is for people: two data folders may have machines of one name.
    """
    if not can_be_made() or (above := _own()) is None:
        return None
    made = above / f"{_PREFIX}{name}-{secrets.token_hex(4)}"
    write_down(made)
    return made if _made(made) else None


@cache
def can_be_made() -> bool:
    """Whether there can be any here."""
    above = _own()
    tried = above / f"{_PREFIX}try-{secrets.token_hex(4)}" if above is not None else None
    if tried is None or not _made(tried):
        return False
    remove(tried)
    return True


def members(cgroup: Path) -> set[int]:
    """The processes in it and in those below it; none of one that is gone."""
    found: set[int] = set()
    with suppress(OSError):  # gone meanwhile, or never there since the machine was booted
        for file in cgroup.rglob("cgroup.procs"):
            with suppress(OSError):
                found.update(map(int, file.read_text().split()))
    return found


def remove(cgroup: Path) -> None:
    """Remove one that nothing lives in any more; one that holds something stays."""
    with suppress(OSError):
        below = sorted(cgroup.rglob("*/"), key=lambda each: len(each.parts), reverse=True)
        for each in (*below, cgroup):
            each.rmdir()


def _made(cgroup: Path) -> bool:
    try:
        cgroup.mkdir()
    except OSError:  # no rights, a read-only mount, or too many
        return False
    return True


def _own() -> Path | None:
    """Where this process is in the unified hierarchy (proc_pid_mountinfo(5), cgroups(7))."""
    if sys.platform != "linux":
        return None
    mounts = [line.partition(" - ") for line in MOUNTS.read_text().splitlines()]
    points = [Path(left.split()[4]) for left, _, right in mounts if right.startswith("cgroup2 ")]
    within = [
        line.removeprefix("0::/") for line in OWN.read_text().splitlines() if line.startswith("0::")
    ]
    return points[0] / within[0] if points and within else None
