"""All machines below one data folder: made, found, admitted, taken away."""

from __future__ import annotations

import fcntl
import hashlib
import os
import random
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

from torpor_provisioner import deadline
from torpor_provisioner.accounts import is_free as account_is_free
from torpor_provisioner.calls import Call, write_call
from torpor_provisioner.contract import Spec
from torpor_provisioner.errors import Capacity, Gone, Invalid
from torpor_provisioner.files import write_atomically
from torpor_provisioner.vm import disks, golden, image
from torpor_provisioner.vm.capacity import Admission, Room
from torpor_provisioner.vm.errors import TooManyMachines
from torpor_provisioner.vm.hypervisor import Hypervisor
from torpor_provisioner.vm.lock import FILE as LOCK
from torpor_provisioner.vm.machine import FILE, Machine
from torpor_provisioner.vm.network import free_ports, is_free
from torpor_provisioner.vm.record import Phase, Record, Wanted
from torpor_provisioner.vm.settings import VmSettings

REF = re.compile(r"vm-[0-9a-f]{16}")


class Machines:
    """Shared by every process that is given the same folder. Blocking, but briefly."""

    def __init__(self, folder: Path, settings: VmSettings, hypervisor: Hypervisor) -> None:
        self.folder = folder
        self.hypervisor = hypervisor
        self._settings = settings
        self._machines = folder / "machines"
        self._graves = folder / "terminated"
        room = Room.of_host(settings.memory, settings.cpus)
        self._admission = Admission(folder, room)
        self._fence = settings.fence()

    def __repr__(self) -> str:
        return f"<Machines {self.folder}>"

    @property
    def stop_grace(self) -> float:
        return self._settings.stop_grace

    @property
    def is_open(self) -> bool:
        return self._fence is not None

    def keep_fence(self, *, now: bool) -> None:
        """
        Raises:
            NoFence: machines that have a way out could go anywhere by it.
        """
        if self._fence is not None:
            self._fence.keep(now=now)

    def image(self, name: str) -> image.Image:
        return image.find(self._settings.images, name)

    def machine(self, ref: str) -> Machine:
        """The handle of a machine, whether it exists or not.

        Raises:
            Gone: no machine can ever have had this ref.
        """
        if not REF.fullmatch(ref):  # it becomes a path
            raise Gone(f"no machine {ref!r}")
        return Machine(self._machines / ref, self)

    def check(self, spec: Spec) -> Wanted:
        """What the spec means here.

        Raises:
            Invalid: no such machine can be made.
            NoHypervisor: none can.
        """
        wanted = self._settings.wanted(spec)
        self.hypervisor.traits()
        # The image's own name: what its alias means may change, a machine's image may not.
        found = self.image(wanted.image)
        if wanted.memory < found.memory:
            raise Invalid(f"machines of {found.name} need {found.memory} MiB of memory")
        return replace(wanted, image=found.name)

    def launch(self, spec: Spec, token: str) -> Machine:
        """The machine of this token, made if there is none; it is yet to be started.

        Raises:
            Invalid: as `check` says.
            TooManyMachines: the org has as many as it may.
            DiskFull: there is no room for it.
        """
        digest = hashlib.sha256(token.encode()).hexdigest()
        machine = self.machine(f"vm-{digest[:16]}")
        wanted = self.check(spec)
        with self._locked():
            deadline.check("launch")
            if not (self._machines / machine.ref).exists():
                self._check_cap(spec.org)
                self._make(machine.ref, wanted)
        return machine

    async def terminate(self, ref: str) -> None:
        """End a machine and remove its folder; nothing happens if it is gone."""
        try:
            machine = self.machine(ref)
        except Gone:
            return
        self._graves.mkdir(parents=True, exist_ok=True)
        with suppress(Gone):
            await machine.terminate(self._graves / f"{ref}-{uuid4().hex}")
        for grave in self._graves.iterdir():  # also of machines whose node was killed half way
            shutil.rmtree(grave, ignore_errors=True)

    def owned(self) -> dict[str, tuple[UUID, int]]:
        """Every machine: ref to (satellite id, generation)."""
        return {ref: (record.satellite_id, record.generation) for ref, record in self.records()}

    def records(self) -> Iterator[tuple[str, Record]]:
        if not self._machines.exists():
            return
        for folder in self._machines.iterdir():
            try:
                yield folder.name, self.machine(folder.name).read()
            except Gone:  # terminated meanwhile
                continue

    def admit(self, ref: str, phase: Phase) -> Record:
        """Count it among those awake from here on.

        Raises:
            HostFull: it has to wait for its turn.
            NoFence: as `keep_fence` says.
        """
        self.keep_fence(now=True)
        with self._locked():
            record = self.machine(ref).read()
            self._admission.admit(ref, record, self.records(), time.time())
            record = record.becomes(phase, time.time())
            write_atomically(self._machines / ref / FILE, record.to_json())
            return record

    def ports(self, record: Record) -> Record:
        """Its own, or others where a stranger has taken one while it slept."""
        if is_free(record.worker_port) and is_free(record.identity_port):
            return record
        with self._locked():
            worker, identity = free_ports(2, self._taken(), self._settings.ports)
            return replace(record, worker_port=worker, identity_port=identity)

    def _check_cap(self, org: str) -> None:
        """Sleeping ones count; they may all wake."""
        most = self._settings.max_satellites
        there = sum(record.org == org for _, record in self.records())
        if most and there >= most:
            raise TooManyMachines(f"{org} has {there} of its {most}")

    def _make(self, ref: str, wanted: Wanted) -> None:
        new = self.folder / "new"  # moved when it is whole; there is one at a time
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        (new / LOCK).touch(mode=0o600)
        record = self._record(wanted)
        found = self.image(wanted.image)
        traits = self.hypervisor.traits()
        ready = golden.find(found, wanted.memory, wanted.cpus, traits)
        if ready is not None:
            ready.copy(new)
            record = replace(record, devices=ready.devices, traits=traits, greeted=False)
        else:
            disks.make(found, new)
        write_atomically(new / FILE, record.to_json())
        write_call(self.folder, Call(ref, record.calls, record.full_name, "launch"))
        new.replace(self._machines / ref)

    def _record(self, wanted: Wanted) -> Record:
        spec = wanted.spec
        worker, identity = free_ports(2, self._taken(), self._settings.ports)
        return Record(
            satellite_id=spec.satellite_id,
            generation=spec.generation,
            org=spec.org,
            name=spec.name,
            arch=spec.arch,
            hibernate=spec.hibernate,
            image=wanted.image,
            memory=wanted.memory,
            cpus=wanted.cpus,
            worker_port=worker,
            identity_port=identity,
            phase=Phase.MADE,
            since=time.time(),
            calls=1,
            account=self._account(),
        )

    def _account(self) -> int | None:
        if self._settings.accounts is None:
            return None
        taken = {record.account for _, record in self.records()}
        free = [number for number in self._settings.accounts if number not in taken]
        random.shuffle(free)  # other data folders of this host choose from the same range
        found = next(filter(account_is_free, free), None)
        if found is None:
            raise Capacity(f"no account of {self._settings.accounts} is free")
        return found

    def _taken(self) -> set[int]:
        return {p for _, r in self.records() for p in (r.worker_port, r.identity_port)}

    @contextmanager
    def _locked(self) -> Iterator[None]:
        for folder in (self.folder, self._machines, self._graves):
            folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        lock = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)
