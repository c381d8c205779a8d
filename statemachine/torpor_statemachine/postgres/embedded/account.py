"""Which user Postgres runs as, and where that user may go.

Postgres refuses to run as root. So root's server runs as `nobody`, with no group of root's, and
what it needs must be where `nobody` may go: folders are never opened wider for it.
"""

from __future__ import annotations

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path

from torpor_statemachine.postgres.embedded.errors import PostgresFailed

ROOT = 0
UNPRIVILEGED = "nobody"


@dataclass(frozen=True, slots=True)
class Account:
    """`owner` is the name of the user whom the server lets in: the one who starts it."""

    uid: int
    gid: int
    owner: str
    drops: bool  # whether privileges must be given up to become it

    @classmethod
    def for_this_process(cls) -> Account:
        """
        Raises:
            PostgresFailed: this user, or `nobody` where it is root, has no account; Postgres
                runs for no such user.
        """
        uid = os.geteuid()
        try:
            owner = pwd.getpwuid(uid)
            runs_as = pwd.getpwnam(UNPRIVILEGED) if uid == ROOT else owner
        except KeyError as error:
            raise PostgresFailed(f"no account on this machine: {error}") from error
        return cls(runs_as.pw_uid, runs_as.pw_gid, owner.pw_name, drops=uid == ROOT)

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
