"""The worker of one machine: started, seen, signalled."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torpor_provisioner.accounts import Ids
from torpor_provisioner.errors import Capacity, Invalid, NotReady
from torpor_provisioner.files import write_atomically
from torpor_provisioner.local import cgroup, launcher, processes, sockets
from torpor_provisioner.local.phases import Action, Seen
from torpor_provisioner.local.processes import Identity
from torpor_provisioner.local.tree import Tree

KILL_PATIENCE = 5.0  # seconds; a killed process is gone at once, save in a disk wait
LOG_KEPT = 1024 * 1024  # bytes; a longer log is put aside at the next start
LOG_TAIL = 2048  # bytes of the log that are read to tell why a worker died
LINES_TOLD = 5
LAUNCHED_WITHIN = 30.0  # seconds; the launcher takes some 30 ms

# A worker runs other people's builds: of our environment it gets what a login shell would have,
# and nothing like a database's address.
INHERITED = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR")
OWNERS = {"HOME", "USER", "LOGNAME", "TMPDIR"}  # of no use to another account


@dataclass(frozen=True, slots=True)
class Ended:
    """How a worker ended: `code` is its exit code, or minus the number of the signal.

    `lived` is in seconds, `at` the wall clock's.
    """

    code: int
    lived: float
    at: float

    @property
    def by_itself(self) -> bool:
        """Nobody sent it the signals that end processes from outside."""
        return self.code not in {-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT}

    def __str__(self) -> str:
        how = f"exit code {self.code}" if self.code >= 0 else f"signal {-self.code}"
        return f"{how} after {self.lived:.1f} s"


class Worker:
    """Blocking; a caller that changes anything holds the machine's lock."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.data = folder / "data"

    def __repr__(self) -> str:
        return f"<Worker {self._folder.name} {self._identity()}>"

    @property
    def identity(self) -> Path | None:
        """The socket where the keeper says which machine this is, out of the worker's reach; None
        where the folder's own path is too long for one (unix(7))."""
        path = self._folder / "identity"
        return path if len(os.fsencode(path)) <= sockets.LONGEST else None

    @property
    def was_started(self) -> bool:
        return self._identity() is not None

    def seen(self) -> Seen:
        identity = self._identity()
        process = processes.find(identity) if identity else None
        if process is None:
            return Seen.DEAD
        return Seen.FROZEN if process.frozen else Seen.RUNNING

    def launch(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        launch_token: str = "",
        account: Ids | None = None,
        lock: int,
        nice: int,
        memory: int,
    ) -> None:
        """Start the worker, once nothing of an earlier one is left. Without an `account` it is
        this process's own; without a `launch_token` nobody says which machine it is.

        Raises:
            Invalid: its program cannot be run.
            Capacity: this machine has no process or memory to give.
        """
        self.kill()
        own = cgroup.make(
            self._folder.name, lambda path: write_atomically(self._folder / "cgroup", str(path))
        )
        (self._folder / "exit.json").unlink(missing_ok=True)
        self._put_log_aside()
        inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
        if account is not None:
            inherited = {name: inherited[name] for name in inherited.keys() - OWNERS}
            inherited["HOME"] = str(self.data)
        order = launcher.Order(
            command=list(command),
            environment=inherited | dict(environment),
            folder=str(self.data),
            log=str(self._folder / "log"),
            process_file=str(self._folder / "process.json"),
            keeper_file=str(self._folder / "keeper.json"),
            exit_file=str(self._folder / "exit.json"),
            identity=str(self.identity) if launch_token and self.identity is not None else "",
            launch_token=launch_token,
            account=account,
            cgroup=str(own or ""),
            lock=lock,
            nice=nice,
            memory=memory,
        )
        try:
            ran = subprocess.run(  # noqa: S603 - our own program; its order goes by standard input
                [sys.executable, "-I", "-S", launcher.__file__],
                input=json.dumps(order).encode(),
                capture_output=True,
                pass_fds=(lock,),
                start_new_session=True,  # a Ctrl-C meant for us is not meant for it
                timeout=LAUNCHED_WITHIN,
                check=True,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Capacity(f"cannot start a process: {error}") from error
        except subprocess.CalledProcessError as error:
            raise Capacity(f"the launcher failed: {error.stderr.decode()[-500:]}") from error
        if ran.stdout:
            number, words = json.loads(ran.stdout)
            scarce = number in {errno.EAGAIN, errno.ENOMEM}
            raise (Capacity if scarce else Invalid)(f"cannot run {command[0]!r}: {words}")

    def act(self, action: Action) -> None:
        """Carry out any action but a start."""
        tree = self._tree()
        if tree is None:
            return
        match action:
            case Action.RESUME:
                tree.send(signal.SIGCONT)
            case Action.FREEZE:
                tree.freeze()
            case Action.END:
                tree.send(signal.SIGTERM)
            case Action.KILL:
                self.kill()
            case Action.START:
                raise AssertionError("a start is an order to launch")

    def kill(self) -> None:
        """End whatever is left of the worker.

        Raises:
            NotReady: something of it does not die, being in a disk wait.
        """
        tree = self._tree()
        if tree is not None and not tree.kill(KILL_PATIENCE):
            raise NotReady("a process of the worker does not end")
        if (left := self._cgroup()) is not None:
            cgroup.remove(left)
            (self._folder / "cgroup").unlink()

    def ended(self) -> Ended | None:
        """How the worker ended that was last started; None if it lives, or nobody was there."""
        identity = self._identity()
        stored = self._read("exit.json")
        if stored is None or identity is None or stored["pid"] != identity.pid:
            return None
        return Ended(stored["code"], stored["lived"], stored["at"])

    def last_lines(self) -> str:
        try:
            with (self._folder / "log").open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - LOG_TAIL))
                lines = log.read().decode(errors="replace").splitlines()
        except FileNotFoundError:
            return ""
        words = " | ".join(line.strip() for line in lines[-LINES_TOLD:] if line.strip())
        return "".join(each if each.isprintable() else " " for each in words)

    def _identity(self) -> Identity | None:
        stored = self._read("process.json")
        return Identity(**stored) if stored is not None else None

    def _tree(self) -> Tree | None:
        leader, keeper = self._identity(), self._read("keeper.json")
        if leader is None:
            return None
        return Tree(leader, Identity(**keeper) if keeper is not None else None, self._cgroup())

    def _cgroup(self) -> Path | None:
        try:
            return Path((self._folder / "cgroup").read_text())
        except FileNotFoundError:
            return None

    def _read(self, name: str) -> dict[str, Any] | None:
        try:
            stored: dict[str, Any] = json.loads((self._folder / name).read_text())
        except FileNotFoundError:
            return None
        return stored

    def _put_log_aside(self) -> None:
        log = self._folder / "log"
        if log.exists() and log.stat().st_size > LOG_KEPT:
            log.replace(self._folder / "log.1")
