"""One machine: its lock, its record, and the steps that take it from phase to phase.

Each step is safe to be cut off after any instruction: what is true afterwards stands in the folder,
and `_settle` finds it. A sleep is committed by the rename of `state.part` to `state`: before it the
machine runs, or is as after a power failure; never is it half a memory. A wake unlinks `state`
before the machine runs: a memory is never resumed twice, over a disk that went on without it.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from torpor_provisioner import deadline
from torpor_provisioner.calls import Call, write_call
from torpor_provisioner.contract import Address, MachineState, Observed, SleepKind
from torpor_provisioner.errors import Capacity, Gone, Invalid, NotReady
from torpor_provisioner.files import write_atomically
from torpor_provisioner.vm import compressed, safely, sparse
from torpor_provisioner.vm.errors import HypervisorFailed, StateRefused
from torpor_provisioner.vm.host import MachineHost
from torpor_provisioner.vm.hypervisor import COMPRESSED, MEMORY, SAVING, STATE, Boot, Guest
from torpor_provisioner.vm.lock import locked
from torpor_provisioner.vm.network import HOST
from torpor_provisioner.vm.record import Phase, Record

logger = logging.getLogger(__name__)

FILE = "machine.json"
CLOCK_WITHIN = 3.0  # seconds for the agent to answer; the machine runs in any case
GREETED_WITHIN = 15.0

_OBSERVED = {
    Phase.MADE: MachineState.PENDING,
    Phase.BOOTING: MachineState.PENDING,
    Phase.WAKING: MachineState.PENDING,
    Phase.RUNNING: MachineState.RUNNING,
    Phase.SAVING: MachineState.STOPPING,
    Phase.STOPPING: MachineState.STOPPING,
    Phase.HIBERNATED: MachineState.ASLEEP,
    Phase.STOPPED: MachineState.ASLEEP,
}
_SLEEPS = {Phase.HIBERNATED: SleepKind.HIBERNATED, Phase.STOPPED: SleepKind.STOPPED}
# What a phase says of the hypervisor: where it is otherwise, something has happened.
_ON = {Phase.RUNNING: True, Phase.HIBERNATED: False, Phase.STOPPED: False}


@dataclass(frozen=True, slots=True)
class Machine:
    """Its calls are safe to make from any number of processes at once."""

    _folder: Path
    _host: MachineHost

    def __repr__(self) -> str:
        return f"<Machine {self.ref}>"

    @property
    def ref(self) -> str:
        return self._folder.name

    def read(self) -> Record:
        """
        Raises:
            Gone: there is no such machine.
        """
        try:
            return Record.from_json((self._folder / FILE).read_text())
        except FileNotFoundError:
            raise Gone(f"no machine {self.ref}") from None

    def is_settled(self) -> bool:
        """Whether it is as its phase says. Cheap."""
        return _ON.get(self.read().phase) is self._host.hypervisor.is_on(self._folder)

    async def settle(self) -> None:
        """Carry on with what was begun or cut off, unless somebody is at it."""
        try:
            async with locked(self._folder, wait=False):
                await self._settle()
        except NotReady as error:
            logger.debug("%r is not settled: %s", self, error)

    def observe(self) -> Observed:
        """What is true now, as far as it is settled."""
        record = self.read()
        state = _OBSERVED[record.phase]
        up = state is MachineState.RUNNING
        return Observed(
            state,
            Address(HOST, record.worker_port),
            _SLEEPS.get(record.phase),
            record.detail,
            Address(HOST, record.identity_port) if up else None,
        )

    async def start(self) -> None:
        """Carry a launch out; nothing happens if it has been started before."""
        async with locked(self._folder):
            await self._settle()

    async def wake(self) -> None:
        async with locked(self._folder):
            record = await self._settle()
            match record.phase:
                case Phase.RUNNING:
                    return
                case Phase.HIBERNATED | Phase.STOPPED:
                    await self._start(record, "wake")
                case moving:
                    raise NotReady(f"the machine is {moving}")

    async def sleep(self, how: SleepKind) -> None:
        """Begin; a memory that was saved is yet to be put safely on the disk: `settle` does it."""
        async with locked(self._folder):
            record = await self._settle(finish=False)
            if record.phase in {Phase.MADE, Phase.BOOTING, Phase.WAKING}:
                raise NotReady(f"the machine is {record.phase}")
            if record.phase is not Phase.RUNNING:
                return
            if how is SleepKind.HIBERNATED and record.hibernate:
                await self._save(self._logged(record, "sleep", how))
            else:
                await self._stop(self._logged(record, "sleep", SleepKind.STOPPED))

    async def terminate(self, grave: Path) -> None:
        """End what runs of it and move its folder to `grave`, from where nothing comes back."""
        async with locked(self._folder):
            self._logged(self.read(), "terminate", "")
            await self._host.hypervisor.kill(self._folder)
            self._folder.replace(grave)

    def is_to_compress(self, after: float) -> bool:
        """Whether it has hibernated for so many seconds with its memory as it is. Cheap."""
        record = self.read()
        return (
            record.phase is Phase.HIBERNATED
            and time.time() - record.since >= after
            and 0 < sparse.blocks(self._folder / MEMORY) <= compressed.MOST
        )

    async def compress(self, lock: int) -> None:
        """Compress its memory, unless it is moved meanwhile; `lock` is of `compressed.alone`."""
        record = self.read()
        before = sparse.blocks(self._folder / MEMORY)
        if not compressed.exists(self._folder) and not await compressed.compress(
            self._folder, lock, lambda: self.read() == record
        ):
            return
        async with locked(self._folder):
            if self.read() != record or record.phase is not Phase.HIBERNATED:
                compressed.forget(self._folder)
                return
            await asyncio.to_thread(compressed.commit, self._folder)
        after = sparse.blocks(self._folder / COMPRESSED)
        logger.info("%r: its memory takes %d MiB, not %d", self, after >> 20, before >> 20)

    async def _settle(self, *, finish: bool = True) -> Record:
        """Make the record true: what was cut off is carried on, or taken back."""
        record = self.read()
        on = self._host.hypervisor.is_on(self._folder)
        saved = (self._folder / STATE).exists()
        match record.phase:
            case Phase.MADE:
                record = await self._start(record, "")
            case Phase.BOOTING | Phase.RUNNING if on:
                record = self._becomes(record, Phase.RUNNING)
            case Phase.WAKING if on and not saved:
                async with self._attached() as guest:
                    record = await self._woken(record, guest)
            case Phase.HIBERNATED if saved:
                await self._host.hypervisor.kill(self._folder)
                compressed.tidy(self._folder)
            case Phase.SAVING if on:
                if finish:
                    async with self._attached() as guest:
                        record = await self._saved(record, guest)
            case Phase.SAVING | Phase.WAKING if saved:
                await self._host.hypervisor.kill(self._folder)
                record = await self._rests(record, Phase.HIBERNATED, record.detail)
            case Phase.STOPPING if on and not self._is_due(record):
                pass
            case Phase.STOPPED | Phase.STOPPING:
                record = await self._off(record, record.detail)
            case before:
                record = await self._off(record, self._last_words(before))
        return record

    async def _start(self, record: Record, call: str) -> Record:
        """With its memory where it has one, else from its disk. It counts as awake from here on;
        if it cannot be started it is as it was."""
        before = record.phase
        saved = (self._folder / STATE).exists()
        unlike = self._unlike(record) if saved else ""
        resumes = saved and not unlike
        record = self._host.admit(self.ref, Phase.WAKING if resumes else Phase.BOOTING)
        try:
            if call:
                record = self._logged(record, call, "resumed" if resumes else "started")
            return await (self._wake(record) if resumes else self._boot(record, unlike))
        except (Capacity, Invalid, NotReady) as error:
            await self._host.hypervisor.kill(self._folder)
            if (self._folder / STATE).exists() or before is Phase.MADE:
                await self._rests(record, before, error.message)
            else:
                await self._off(record, error.message)
            raise

    async def _wake(self, record: Record) -> Record:
        record = self._host.ports(record)
        size = record.memory << 20
        if compressed.exists(self._folder):
            try:
                await compressed.restore(self._folder, size, lambda: deadline.left() > 0)
            except StateRefused as error:
                return await self._boot(record, error.message)
        else:
            await asyncio.to_thread(sparse.reserve, self._folder / MEMORY, size)
        deadline.check(self.ref)
        hypervisor = self._host.hypervisor
        starting = hypervisor.start(self._folder, self._boot_of(record), to_load=True)
        async with _hanging_up(await starting) as guest:
            try:
                await guest.load(self._folder / STATE)
            except StateRefused as error:
                refused = error.message
            else:
                (self._folder / STATE).unlink()
                await asyncio.to_thread(safely.sync_folder, self._folder)
                return await self._woken(record, guest)
        await hypervisor.kill(self._folder)
        return await self._boot(record, refused)

    def _unlike(self, record: Record) -> str:
        """Why its memory cannot be had here; empty, if it can."""
        here = self._host.hypervisor.traits()
        if record.traits == here:
            return ""
        unlike = record.traits.unlike(here) if record.traits else "nothing that is known"
        return f"its memory was saved with {unlike}"

    async def _woken(self, record: Record, guest: Guest) -> Record:
        """Its state is used up: it can only go on."""
        await guest.go()
        compressed.forget(self._folder)
        now = f"{time.time():.6f}"
        if record.greeted:
            heard = await guest.tell(f"clock {now}", CLOCK_WITHIN)
        else:
            words = f"hello {now} {record.token} {uuid4()} {secrets.token_hex(32)}"
            heard = await guest.tell(words, GREETED_WITHIN)
        if not heard:
            logger.warning("%r: the agent in it does not answer; its clock may be wrong", self)
        if not heard and not record.greeted:  # it does not know who it is: better none than that
            await self._host.hypervisor.kill(self._folder)
            return await self._boot(record, "the copy of the golden snapshot did not answer")
        return self._becomes(record, Phase.RUNNING, detail="", greeted=True)

    async def _boot(self, record: Record, detail: str) -> Record:
        """From its disk; what is left of a memory goes."""
        hypervisor = self._host.hypervisor
        self._forget()
        record = self._host.ports(record)
        record = replace(record, devices=(), traits=hypervisor.traits(), greeted=True)
        record = replace(record, devices=hypervisor.devices(self._boot_of(record)))
        record = self._becomes(record, Phase.BOOTING, detail=detail)
        memory = self._folder / MEMORY
        await asyncio.to_thread(sparse.reserve, memory, record.memory << 20)
        deadline.check(self.ref)
        starting = hypervisor.start(self._folder, self._boot_of(record), to_load=False)
        async with _hanging_up(await starting):
            return self._becomes(record, Phase.RUNNING)

    async def _save(self, record: Record) -> None:
        record = self._becomes(record, Phase.SAVING)
        async with self._attached() as guest:
            try:
                await guest.save(self._folder / SAVING)
            except (Capacity, NotReady) as error:
                await self._not_saved(record, guest, error.message)
                raise

    async def _saved(self, record: Record, guest: Guest) -> Record:
        """What a save has written is put on the disk, then committed, then its hypervisor ends."""
        part, state = self._folder / SAVING, self._folder / STATE
        if not state.exists():
            if not await guest.is_saved():  # cut off before it was whole
                return await self._not_saved(record, guest, "its sleep was cut off")
            try:
                for file in (self._folder / MEMORY, part):
                    await asyncio.to_thread(safely.sync, file)
            except OSError as error:
                return await self._not_saved(record, guest, f"its memory: {error.strerror}")
            part.replace(state)
        await asyncio.to_thread(safely.sync_folder, self._folder)
        await guest.end()
        return await self._rests(record, Phase.HIBERNATED, "")

    async def _rests(self, record: Record, phase: Phase, detail: str) -> Record:
        """No hypervisor runs, and it keeps its memory. The room that was reserved goes first:
        what is written down as hibernated costs what it has touched."""
        compressed.tidy(self._folder)
        await asyncio.to_thread(sparse.release, self._folder / MEMORY)
        return self._becomes(record, phase, detail=detail)

    async def _not_saved(self, record: Record, guest: Guest, detail: str) -> Record:
        """It goes on as if nothing had been."""
        (self._folder / SAVING).unlink(missing_ok=True)
        await guest.go()
        return self._becomes(record, Phase.RUNNING, detail=detail)

    async def _stop(self, record: Record) -> None:
        record = self._becomes(record, Phase.STOPPING, detail="")
        async with self._attached() as guest:
            if not await guest.tell("off", 0.0):
                await guest.power_button()

    async def _off(self, record: Record, detail: str) -> Record:
        await self._host.hypervisor.kill(self._folder)
        self._forget()
        return self._becomes(record, Phase.STOPPED, detail=detail)

    def _forget(self) -> None:
        for name in (STATE, SAVING, MEMORY):
            (self._folder / name).unlink(missing_ok=True)
        compressed.forget(self._folder)

    @asynccontextmanager
    async def _attached(self) -> AsyncIterator[Guest]:
        """
        Raises:
            HypervisorFailed: it does not answer; then it is no more.
        """
        hypervisor = self._host.hypervisor
        try:
            guest = await hypervisor.attach(self._folder)
        except HypervisorFailed:
            await hypervisor.kill(self._folder)
            raise
        async with _hanging_up(guest):
            yield guest

    def _boot_of(self, record: Record) -> Boot:
        image = self._host.image(record.image)
        return Boot(
            kernel=image.kernel,
            initrd=image.initrd,
            append=f"{image.append} torpor.token={record.token}",
            memory=record.memory,
            cpus=record.cpus,
            worker_port=record.worker_port,
            identity_port=record.identity_port,
            devices=record.devices,
            account=record.account,
            is_open=self._host.is_open,
        )

    def _is_due(self, record: Record) -> bool:
        elapsed = time.time() - record.since
        # A clock that was set back must not make a machine wait for hours.
        return not 0 <= elapsed < self._host.stop_grace

    def _last_words(self, phase: Phase) -> str:
        said = self._host.hypervisor.last_words(self._folder)
        return f"its hypervisor ended while it was {phase}" + (f": {said}" if said else "")

    def _logged(self, record: Record, call: str, how: str) -> Record:
        number = record.calls + 1
        write_call(self._host.folder, Call(self.ref, number, record.full_name, call, how))
        return replace(record, calls=number)

    def _becomes(self, record: Record, phase: Phase, **changed: Any) -> Record:
        new = record.becomes(phase, time.time(), **changed)
        if replace(new, since=record.since) != record:
            write_atomically(self._folder / FILE, new.to_json())
            return new
        return record


@asynccontextmanager
async def _hanging_up(guest: Guest) -> AsyncIterator[Guest]:
    """A monitor serves one at a time: who has asked lets go."""
    try:
        yield guest
    finally:
        await guest.hang_up()
