"""Accounts of this machine that are a number and nothing more: which may be had, where they may go.

Root needs no `useradd` to run a program as an account that no other program has.
"""

from __future__ import annotations

import os
import pwd
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

ROOT = 0
UID_MAP = Path("/proc/self/uid_map")


class Ids(NamedTuple):
    """A user and its only group."""

    uid: int
    gid: int

    def may_enter(self, folder: Path) -> bool:
        """Whether every folder down to this one may be passed through."""
        path = folder.resolve()
        return all(self._may(step, stat.S_IXOTH) for step in (path, *path.parents))

    def may_run(self, file: Path) -> bool:
        """Whether the file may be reached, read and executed."""
        return self.may_enter(file.parent) and self._may(file, stat.S_IROTH | stat.S_IXOTH)

    def _may(self, path: Path, bits: int) -> bool:
        """`bits` as for others; an access list may still refuse, which then fails by itself."""
        status = path.stat()
        if status.st_uid == self.uid:
            bits <<= 6
        elif status.st_gid == self.gid:
            bits <<= 3
        return status.st_mode & bits == bits


def is_free(number: int) -> bool:
    """Whether root may become that number here (user_namespaces(7)), and no account has it."""
    with suppress(KeyError):
        pwd.getpwuid(number)
        return False
    return is_mapped(number)


def is_mapped(number: int) -> bool:
    """Whether the number exists in this process's user namespace."""
    if sys.platform != "linux":
        return True
    ranges = (map(int, line.split()) for line in UID_MAP.read_text().splitlines())
    return any(first <= number < first + count for first, _, count in ranges)


def is_root() -> bool:
    return os.geteuid() == ROOT
