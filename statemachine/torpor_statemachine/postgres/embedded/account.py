"""Which account Postgres runs as, and where that account may go.

Postgres refuses to run as root. So root's server runs as an account of its own, a number that no
other program has, with no group of root's, and what it needs must be where that account may go:
folders are never opened wider for it. `initdb` alone needs an account with a name, which is
`nobody`. Where that number cannot be had, and for data that an earlier version made, the server is
`nobody` too: then every other process of `nobody` may write its files.
"""

from __future__ import annotations

import logging
import os
import pwd
import stat
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from torpor_statemachine.postgres.embedded.errors import PostgresFailed

logger = logging.getLogger(__name__)

ROOT = 0
UNPRIVILEGED = "nobody"
# Below the numbers that distributions give away for subordinate accounts (100000 and up), above
# those with names (65535 at most); the satellites' of the local provisioner begin after it.
OWN = 69_999
_UID_MAP = Path("/proc/self/uid_map")


class Ids(NamedTuple):
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Account:
    """`owner` is the name of the user whom the server lets in: the one who starts it."""

    uid: int
    gid: int
    owner: str
    drops: bool  # whether privileges must be given up to become it
    maker: Ids  # whom initdb runs as

    @classmethod
    def for_this_process(cls, data_owner: int | None = None) -> Account:
        """The account for data that belong to `data_owner`, or are to be made.

        Raises:
            PostgresFailed: this user, or `nobody` where it is root, has no account; initdb runs
                for no such user.
        """
        uid = os.geteuid()
        try:
            owner = pwd.getpwuid(uid)
            named = pwd.getpwnam(UNPRIVILEGED) if uid == ROOT else owner
        except KeyError as error:
            raise PostgresFailed(f"no account on this machine: {error}") from error
        maker = Ids(named.pw_uid, named.pw_gid)
        runs_as = maker
        if uid == ROOT and data_owner != maker.uid and _is_free(OWN):
            runs_as = Ids(OWN, OWN)
        elif uid == ROOT:
            logger.warning(
                "the embedded Postgres runs as %s, as other programs may: they can write its"
                " files; a new data folder gets an account of its own",
                UNPRIVILEGED,
            )
        return cls(*runs_as, owner.pw_name, drops=uid == ROOT, maker=maker)

    def take(self, new_data: Path) -> None:
        """Make what initdb has made this account's."""
        if (self.uid, self.gid) == self.maker:
            return
        for path in (new_data, *new_data.rglob("*")):
            os.chown(path, self.uid, self.gid, follow_symlinks=False)

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


def _is_free(uid: int) -> bool:
    """Whether this process may become that number, and no account has it."""
    if sys.platform != "linux":
        return False
    with suppress(KeyError):
        pwd.getpwuid(uid)
        return False
    ranges = (line.split() for line in _UID_MAP.read_text().splitlines())
    return any(int(first) <= uid < int(first) + int(count) for first, _, count in ranges)
