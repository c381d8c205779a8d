"""The worker of one machine: started, seen, signalled."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from torpor_provisioner.errors import Capacity, Invalid, NotReady
from torpor_provisioner.local import launcher, processes
from torpor_provisioner.local.phases import Action, Seen

KILL_PATIENCE = 5.0  # seconds; a killed process is gone at once, save in a disk wait
LOG_KEPT = 1024 * 1024  # bytes; a longer log is put aside at the next start
LOG_TAIL = 2048  # bytes of the log that are read to tell why a worker died
LINES_TOLD = 5
LAUNCHED_WITHIN = 30.0  # seconds; the launcher takes some 30 ms

# A worker runs other people's builds: of our environment it gets what a login shell would have,
# and nothing like a database's address.
INHERITED = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR")


class Worker:
    """Blocking; whoever changes anything holds the machine's lock."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.data = folder / "data"

    def __repr__(self) -> str:
        return f"<Worker {self._folder.name} {self._identity()}>"

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
        lock: int,
        nice: int,
        memory: int,
    ) -> None:
        """Start the worker, once nothing of an earlier one is left.

        Raises:
            Invalid: its program cannot be run.
            Capacity: this machine has no process or memory to give.
        """
        self.kill()
        self._put_log_aside()
        inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
        order = launcher.Order(
            command=list(command),
            environment=inherited | dict(environment),
            folder=str(self.data),
            log=str(self._folder / "log"),
            process_file=str(self._folder / "process.json"),
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
        identity = self._identity()
        if identity is None:
            return
        match action:
            case Action.RESUME:
                processes.send(identity, signal.SIGCONT)
            case Action.FREEZE:
                processes.freeze(identity)
            case Action.END:
                processes.send(identity, signal.SIGTERM)
            case Action.KILL:
                self.kill()
            case Action.START:
                raise AssertionError("a start is an order to launch")

    def kill(self) -> None:
        """End whatever is left of the worker.

        Raises:
            NotReady: something of it does not die, being in a disk wait.
        """
        identity = self._identity()
        if identity is not None and not processes.kill(identity, KILL_PATIENCE):
            raise NotReady("a process of the worker does not end")

    def last_lines(self) -> str:
        try:
            with (self._folder / "log").open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - LOG_TAIL))
                lines = log.read().decode(errors="replace").splitlines()
        except FileNotFoundError:
            return ""
        return " | ".join(line.strip() for line in lines[-LINES_TOLD:] if line.strip())

    def _identity(self) -> processes.Identity | None:
        try:
            stored = json.loads((self._folder / "process.json").read_text())
        except FileNotFoundError:
            return None
        return processes.Identity(**stored)

    def _put_log_aside(self) -> None:
        log = self._folder / "log"
        if log.exists() and log.stat().st_size > LOG_KEPT:
            log.replace(self._folder / "log.1")
