"""All machines below one data folder: made, found, taken away."""

from __future__ import annotations

import fcntl
import hashlib
import os
import random
import re
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import UUID, uuid4

from torpor_provisioner import deadline
from torpor_provisioner.calls import Call, write_call
from torpor_provisioner.contract import Spec
from torpor_provisioner.errors import Capacity, Gone
from torpor_provisioner.files import write_atomically
from torpor_provisioner.local import accounts
from torpor_provisioner.local.errors import FolderHeld, TooManySatellites
from torpor_provisioner.local.machine import Machine
from torpor_provisioner.local.record import Record
from torpor_provisioner.local.removal import remove
from torpor_provisioner.local.settings import LocalSettings

REF = re.compile(r"local-[0-9a-f]{16}")


class MachineFolder:
    """Blocking, and shared by every process that is given the same folder."""

    def __init__(self, folder: Path, settings: LocalSettings) -> None:
        self.folder = folder
        self._settings = settings
        self._machines = folder / "machines"
        self._graves = folder / "terminated"

    def __repr__(self) -> str:
        return f"<MachineFolder {self.folder}>"

    def machine(self, ref: str) -> Machine:
        """The handle of a machine, whether it exists or not.

        Raises:
            Gone: no machine can ever have had this ref.
        """
        if not REF.fullmatch(ref):  # it becomes a path
            raise Gone(f"no machine {ref!r}")
        return Machine(self._machines / ref, self.folder, self._settings)

    def check(self, spec: Spec) -> None:
        """Whether there is a worker as the spec wants it.

        Raises:
            Invalid: its settings, or the worker's program.
        """
        self._settings.worker(spec.settings).check()

    def launch(self, spec: Spec, token: str) -> Machine:
        """The machine of this token, made if there is none; it is yet to be started.

        Raises:
            Invalid: the spec's settings, or the worker's program.
            Capacity: no port, or no account, is free.
            TooManySatellites: the org has as many as it may.
        """
        self.check(spec)
        digest = hashlib.sha256(token.encode()).hexdigest()
        machine = self.machine(f"local-{digest[:16]}")
        with self._locked():
            deadline.check("launch")
            if not (self._machines / machine.ref).exists():
                self._check_cap(spec.org)
                self._make(machine.ref, spec)
        return machine

    def terminate(self, ref: str) -> None:
        """End a machine and remove its folder; nothing happens if it is gone.

        Raises:
            NotReady: something of it does not die.
            FolderHeld: something keeps its folder; another call goes on from there.
        """
        try:
            machine = self.machine(ref)
        except Gone:
            return
        self._graves.mkdir(parents=True, exist_ok=True)
        with suppress(Gone):
            machine.terminate(self._graves / f"{ref}-{uuid4().hex}")
        for grave in self._graves.glob(f"{ref}-*"):
            remove(grave)
        for grave in self._graves.iterdir():  # of a machine whose node was killed half way
            with suppress(FolderHeld):
                remove(grave)

    def machines(self) -> list[tuple[str, Machine]]:
        """Every machine with its satellite's full name, by name."""
        named = ((record.full_name, ref) for ref, record in self._records())
        return [(name, self.machine(ref)) for name, ref in sorted(named)]

    def owned(self) -> dict[str, tuple[UUID, int]]:
        """Every machine: ref to (satellite id, generation)."""
        return {ref: (record.satellite_id, record.generation) for ref, record in self._records()}

    def _check_cap(self, org: str) -> None:
        """Sleeping ones count; they may all wake."""
        most = self._settings.max_satellites
        there = sum(record.org == org for _, record in self._records())
        if most and there >= most:
            raise TooManySatellites(f"{org} has {there} of its {most}")

    def _make(self, ref: str, spec: Spec) -> None:
        record = Record.of(spec, self._free_port(), time.time())
        new = self.folder / "new"  # moved when it is whole; there is one at a time
        shutil.rmtree(new, ignore_errors=True)
        (new / "data").mkdir(parents=True)
        (new / "lock").touch(mode=0o600)  # workers are not to hold it
        if self._settings.accounts is not None:
            accounts.give(new, self._settings.accounts, self._machines)
        write_atomically(new / "machine.json", record.to_json())
        write_call(self.folder, Call(ref, record.calls, record.full_name, "launch"))
        new.replace(self._machines / ref)

    def _records(self) -> Iterator[tuple[str, Record]]:
        if not self._machines.exists():
            return
        for folder in self._machines.iterdir():
            try:
                yield folder.name, self.machine(folder.name).read()
            except Gone:  # terminated meanwhile
                continue

    def _free_port(self) -> int:
        taken = {record.port for _, record in self._records()}
        ports = [port for port in self._settings.ports if port not in taken]
        random.shuffle(ports)  # other data folders of this machine choose from the same range
        for port in ports:
            if self._can_bind(port):
                return port
        raise Capacity(f"no port of {self._settings.ports} is free")

    def _can_bind(self, port: int) -> bool:
        family = socket.AF_INET6 if ":" in self._settings.host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((self._settings.host, port))
            except OSError:
                return False
        return True

    @contextmanager
    def _locked(self) -> Iterator[None]:
        for folder in (self.folder, self._machines, self._graves):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._settings.accounts is not None:
            for folder in (self.folder, self._machines):
                folder.chmod(accounts.OPEN)
        lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.fchmod(lock, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)
