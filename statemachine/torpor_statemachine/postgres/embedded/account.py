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
from dataclasses import dataclass
from pathlib import Path

from torpor_provisioner.accounts import ROOT, Ids, is_free
from torpor_statemachine.postgres.embedded.errors import PostgresFailed

logger = logging.getLogger(__name__)

UNPRIVILEGED = "nobody"
# Below the numbers that distributions give away for subordinate accounts (100000 and up), above
# those with names (65535 at most); the satellites' of the local provisioner begin after it.
OWN = 69_999


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
        if uid == ROOT and data_owner != maker.uid and is_free(OWN):
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

    @property
    def ids(self) -> Ids:
        return Ids(self.uid, self.gid)

    def may_enter(self, folder: Path) -> bool:
        """Whether every folder down to this one may be passed through."""
        return self.ids.may_enter(folder)

    def may_run(self, file: Path) -> bool:
        """Whether the file may be reached, read and executed."""
        return self.ids.may_run(file)
