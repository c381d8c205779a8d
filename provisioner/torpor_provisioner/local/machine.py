"""One machine: its lock, its record, and the steps that take it from phase to phase."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from torpor_provisioner import deadline
from torpor_provisioner.accounts import Ids
from torpor_provisioner.calls import Call, write_call
from torpor_provisioner.contract import Address, Observed, SleepKind, launch_token
from torpor_provisioner.errors import Capacity, Gone, Invalid, NotReady
from torpor_provisioner.files import write_atomically
from torpor_provisioner.local import accounts, phases, sockets
from torpor_provisioner.local.errors import WorkerDied
from torpor_provisioner.local.phases import Action, Seen, Step
from torpor_provisioner.local.record import Phase, Record
from torpor_provisioner.local.settings import LocalSettings, WorkerCommand
from torpor_provisioner.local.worker import Worker

EARLY = 5.0  # seconds; who ends by itself within them has not begun to work
NEWS = 30.0  # seconds for which such an end is news, and told to who wakes it

LOCK_POLL = 0.01  # seconds
AT_REST = {
    (Phase.RUNNING, Seen.RUNNING),
    (Phase.FROZEN, Seen.FROZEN),
    (Phase.STOPPED, Seen.DEAD),
}


class Machine:
    """Blocking, and safe to call from any number of threads and processes at once."""

    def __init__(self, folder: Path, calls: Path, settings: LocalSettings) -> None:
        self._folder = folder
        self._calls = calls
        self._settings = settings
        self._worker = Worker(folder)

    def __repr__(self) -> str:
        return f"<Machine {self._folder.name}>"

    @property
    def ref(self) -> str:
        return self._folder.name

    def read(self) -> Record:
        """What is written down.

        Raises:
            Gone: there is no such machine.
        """
        try:
            return Record.from_json((self._folder / "machine.json").read_text())
        except FileNotFoundError:
            raise Gone(f"no machine {self.ref}") from None

    def observe(self) -> Observed:
        """What is true now, after the steps that have come due."""
        record, seen = self.read(), self._worker.seen()
        if (record.phase, seen) not in AT_REST:
            try:
                with self.locked() as lock:
                    record, seen = self._settle(lock)
            except (Invalid, Capacity, NotReady):
                record, seen = self.read(), self._worker.seen()
        state, kind, odd = phases.describe(record.phase, seen)
        if odd and seen is Seen.DEAD:
            odd = self._with_last_lines(odd)
        detail = record.failure or odd
        return Observed(state, self._address(record), kind, detail, self._identity(seen))

    def start(self) -> float:
        """Carry a launch out as far as it is due; returns the seconds until the rest is."""
        with self.locked() as lock:
            record, _ = self._settle(lock)
            return self._remaining(record)

    def wake(self) -> float:
        """Begin a wake; returns the seconds until the rest of it is due.

        Raises:
            WorkerDied: it was started just now, and ended by itself; the next call starts it again.
        """
        with self.locked() as lock:
            record, seen = self._settle(lock)
            step = phases.to_wake(record.phase, seen)
            if step is not None:
                self._tell_of_early_death(record)
                how = "resumed" if step.phase is Phase.RESUMING else "started"
                self._begin(record, step, "wake", how)
                record, _ = self._settle(lock)
            return self._remaining(record)

    def sleep(self, how: SleepKind) -> float:
        """Begin a sleep; returns the seconds until the rest of it is due."""
        with self.locked() as lock:
            record, seen = self._settle(lock)
            kind = how if record.hibernate else SleepKind.STOPPED
            step = phases.to_sleep(record.phase, seen, kind)
            if step is not None:
                self._begin(record, step, "sleep", kind)
                record, _ = self._settle(lock)
            return self._remaining(record)

    def end(self) -> None:
        """End the worker, frozen or not, as pulling the plug does. Its disk stays.

        Raises:
            NotReady: something of it does not die.
        """
        with self.locked():
            record = self.read()
            if record.phase is Phase.STOPPED and self._worker.seen() is Seen.DEAD:
                return
            number = self._log(record, "sleep", SleepKind.STOPPED)
            self._worker.kill()
            self._save(
                replace(record, phase=Phase.STOPPED, since=time.time(), calls=number, failure="")
            )

    def terminate(self, grave: Path) -> None:
        """Kill what runs of it and move its folder to `grave`, from where nothing comes back.

        Raises:
            NotReady: something of it does not die.
        """
        with self.locked():
            record = self.read()
            self._log(record, "terminate", "")
            self._worker.kill()
            sockets.remove(self._folder)
            self._folder.replace(grave)

    @contextmanager
    def locked(self) -> Iterator[int]:
        """Hold the machine's lock; yields its file descriptor.

        Raises:
            Gone: there is no such machine, or it went while we waited.
            NotReady: the time of the call was up before.
        """
        file = self._folder / "lock"
        try:
            lock = os.open(file, os.O_RDWR)
        except FileNotFoundError:
            raise Gone(f"no machine {self.ref}") from None
        try:
            self._lock(lock)
            if not _is_same(lock, file):
                raise Gone(f"machine {self.ref} was terminated meanwhile")
            yield lock
        finally:
            # Closed, never unlocked: a launcher still at work keeps its share of the lock.
            os.close(lock)

    def _lock(self, lock: int) -> None:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                deadline.check(self.ref)
                time.sleep(LOCK_POLL)
            else:
                deadline.check(self.ref)
                return

    def _settle(self, lock: int) -> tuple[Record, Seen]:
        record = self.read()
        seen = self._worker.seen()
        while step := phases.next_step(record.phase, seen, due=self._remaining(record) == 0):
            if step.action is Action.START:
                self._launch(record, lock)
            elif step.action is not None:
                self._worker.act(step.action)
            before, seen = seen, self._worker.seen()
            if step.phase is not record.phase:
                record = self._save(replace(record, phase=step.phase, since=time.time()))
            elif seen is before:  # the action had no effect yet: the next look goes on
                break
        return record, seen

    def _begin(self, record: Record, step: Step, call: str, how: str) -> None:
        number = self._log(record, call, how)
        record = replace(record, phase=step.phase, since=time.time(), calls=number, failure="")
        self._save(record)
        if step.action is not None:
            self._worker.act(step.action)

    def _tell_of_early_death(self, record: Record) -> None:
        if record.phase is not Phase.RUNNING:  # it was ended, or is asleep
            return
        self._worker.kill()  # its keeper has written down how it ended when nothing is left
        ended = self._worker.ended()
        if (
            ended is not None
            and ended.by_itself
            and ended.lived < EARLY
            and 0 <= time.time() - ended.at < NEWS
        ):
            died = WorkerDied(self._with_last_lines(str(ended)))
            self._save(
                replace(record, phase=Phase.STOPPED, since=time.time(), failure=died.message)
            )
            raise died

    def _with_last_lines(self, detail: str) -> str:
        return f"{detail}; its last lines: {self._worker.last_lines()}"

    def _launch(self, record: Record, lock: int) -> None:
        settings, data = self._settings, self._worker.data
        try:
            command = settings.worker(record.settings)
            account = self._account()
            address = self._place(command, record, account)
            self._worker.launch(
                command.fill(address, data),
                {
                    **_where(address),
                    "TORPOR_DATA": str(data),
                    "TORPOR_SATELLITE": record.full_name,
                },
                launch_token=launch_token(record.satellite_id, record.generation),
                account=account,
                lock=lock,
                nice=settings.nice,
                memory=settings.memory,
            )
        except (Invalid, Capacity) as error:
            self._save(
                replace(record, phase=Phase.STOPPED, since=time.time(), failure=error.detail)
            )
            raise

    def _account(self) -> Ids | None:
        """Whom the worker runs as; None: whom the router does."""
        if self._settings.accounts is None:
            return None
        accounts.give(self._folder, self._settings.accounts, self._folder.parent)
        return accounts.owner(self._folder)

    def _place(self, command: WorkerCommand, record: Record, account: Ids | None) -> Address:
        """Where the worker is to listen from now on."""
        if command.on_socket:
            address = Address(str(sockets.make(self._folder, account)), 0)
        else:
            address = Address(self._settings.host, record.port)
        write_atomically(self._folder / "address.json", json.dumps(address._asdict()))
        return address

    def _address(self, record: Record) -> Address | None:
        """Where the worker that was last started listens; None before the first start."""
        try:
            return Address(**json.loads((self._folder / "address.json").read_text()))
        except FileNotFoundError:
            if self._worker.was_started:  # by a version that knew of ports alone
                return Address(self._settings.host, record.port)
            return None

    def _identity(self, seen: Seen) -> Address | None:
        """Where the keeper of what runs says which machine this is, if it does."""
        path = self._worker.identity
        says_so = path is not None and seen is Seen.RUNNING and path.exists()
        return Address(str(path), 0) if says_so else None

    def _remaining(self, record: Record) -> float:
        delay = self._settings.timing.of(record.phase)
        elapsed = time.time() - record.since
        # A clock that was set back must not make a machine wait for hours.
        return delay - elapsed if 0 <= elapsed < delay else 0.0

    def _log(self, record: Record, call: str, how: str) -> int:
        number = record.calls + 1
        write_call(self._calls, Call(self.ref, number, record.full_name, call, how))
        return number

    def _save(self, record: Record) -> Record:
        write_atomically(self._folder / "machine.json", record.to_json())
        return record


def _where(address: Address) -> dict[str, str]:
    if address.is_path:
        return {"TORPOR_SOCKET": address.host}
    return {"TORPOR_HOST": address.host, "TORPOR_PORT": str(address.port)}


def _is_same(lock: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(lock), file.stat())
    except FileNotFoundError:
        return False
