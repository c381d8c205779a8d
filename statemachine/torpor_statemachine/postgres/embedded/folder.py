"""What lies in an embedded Postgres's folder, and who holds it.

    data/         Postgres's own; belongs to the user it runs as
    data.new/     the same while it is being made; a leftover is thrown away
    owner.lock    held by the process that started the server
    server.lock   held by that process and inherited by every process of the server: once it is
                  free nothing of the server is left, whatever postmaster.pid says
    server.json   where the server listens, and its password; the owner's alone to read
    postgres.log

The locks are flock(2): they end with their holders, however those end.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from torpor_statemachine.postgres.embedded.account import Account
from torpor_statemachine.postgres.embedded.errors import FolderUnusable

LONGEST_LOG = 10_000_000  # bytes; a longer one is set aside at the next start
SOCKETS = Path("/tmp")  # noqa: S108 - a socket's path has 107 bytes at most; its folder is private
_PREFIX = "torpor-"


class Folder:
    """Paths are absolute. Only root or the owner writes here; `data` alone is the server's."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.data = self.path / "data"
        self.new_data = self.path / "data.new"
        self.log = self.path / "postgres.log"
        self._recorded = self.path / "server.json"

    def __repr__(self) -> str:
        return f"<Folder {self.path}>"

    def prepare(self) -> None:
        """
        Raises:
            FolderUnusable: it cannot be made or written.
        """
        try:
            self.path.mkdir(mode=0o755, parents=True, exist_ok=True)
            for file in self.path / "owner.lock", self.path / "server.lock":
                file.touch(mode=0o600)
        except OSError as error:
            raise FolderUnusable(f"{self.path}: {error.strerror}") from error

    def own(self) -> int | None:
        """The file descriptor that makes this process the owner; None if another is."""
        return _lock(self.path / "owner.lock")

    def lock_for_server(self) -> int | None:
        """The file descriptor that the server inherits; None while another still runs."""
        return _lock(self.path / "server.lock")

    def account(self) -> Account:
        """Which account the server runs as: the one that the data belong to, if this process may
        become it."""
        owner = self.data.stat().st_uid if self.data.exists() else None
        return Account.for_this_process(owner)

    def set_up(self, account: Account) -> None:
        """An empty folder for new data, and a log that does not grow for ever."""
        shutil.rmtree(self.new_data, ignore_errors=True)
        if not self.data.exists():
            self.new_data.mkdir(mode=0o700)
            os.chown(self.new_data, account.maker.uid, account.maker.gid)
        elif self.data.stat().st_uid != account.uid:
            raise FolderUnusable(f"{self.data} belongs to another user (run Torpor as that user)")
        if self.log.exists() and self.log.stat().st_size > LONGEST_LOG:
            self.log.replace(self.log.with_suffix(".log.1"))

    def made_by(self) -> int:
        """The major version of Postgres that made the data."""
        try:
            return int((self.data / "PG_VERSION").read_text())
        except (OSError, ValueError) as error:
            raise FolderUnusable(f"{self.data} holds no data of Postgres") from error

    def forget_pid(self) -> None:
        """To be called with the server's lock held: then the pid is another process's by now."""
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def make_sockets(self, account: Account) -> Path:
        """A short private path for the server's socket; what an earlier server left is removed."""
        self.remove_sockets()
        sockets = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=SOCKETS))
        os.chown(sockets, account.uid, account.gid)
        return sockets

    def record(self, sockets: str, user: str, password: str) -> None:
        """Write down where the server is, for other processes of this user."""
        new = self._recorded.with_suffix(".new")
        new.unlink(missing_ok=True)
        new.touch(mode=0o600, exist_ok=False)
        new.write_text(json.dumps({"sockets": sockets, "user": user, "password": password}))
        new.replace(self._recorded)

    def remove_sockets(self) -> None:
        if recorded := self.recorded():
            sockets = Path(recorded["sockets"])
            if sockets.parent == SOCKETS and sockets.name.startswith(_PREFIX):
                shutil.rmtree(sockets, ignore_errors=True)
            self._recorded.unlink(missing_ok=True)

    def recorded(self) -> dict[str, Any] | None:
        """What its owner wrote down of the server; None if there is nothing."""
        try:
            recorded: dict[str, Any] = json.loads(self._recorded.read_text())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise FolderUnusable(f"{self._recorded}: {error}") from error
        return recorded


def _lock(file: Path) -> int | None:
    descriptor = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
