"""The room that was reserved for a memory is given back before its machine counts as hibernated.

Without a hypervisor: the files are real, and where a crash came is what they and the record say.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from torpor_provisioner.files import write_atomically
from torpor_provisioner.vm import sparse
from torpor_provisioner.vm.errors import HypervisorFailed
from torpor_provisioner.vm.hypervisor import MEMORY, SAVING, STATE, Traits
from torpor_provisioner.vm.lock import FILE as LOCK
from torpor_provisioner.vm.machine import FILE, Machine
from torpor_provisioner.vm.record import Phase, Record

MIB = 1 << 20
SIZE = 8  # MiB
TOUCHED = b"x" * 4096
TRAITS = Traits("7", "q35", "max", "tcg")


class Host:
    """It is its own hypervisor and the only guest: on or off, and no start succeeds."""

    def __init__(self, folder: Path, *, on: bool = False) -> None:
        self.hypervisor, self.folder, self.machine = self, folder, folder / "one"
        self.on = on
        self.reserved_at_start = 0

    def is_on(self, _folder: Path) -> bool:
        return self.on

    async def kill(self, _folder: Path) -> None:
        self.on = False

    def traits(self) -> Traits:
        return TRAITS

    def admit(self, _ref: str, phase: Phase) -> Record:
        record = Record.from_json((self.machine / FILE).read_text()).becomes(phase, 2.0)
        (self.machine / FILE).write_text(record.to_json())
        return record

    def ports(self, record: Record) -> Record:
        return record

    def image(self, _name: str) -> Any:
        class Image:
            kernel = initrd = Path("none")
            append = ""

        return Image

    is_open = False

    async def start(self, folder: Path, *_: object, to_load: bool) -> Any:
        assert to_load
        self.reserved_at_start = sparse.blocks(folder / MEMORY)
        raise HypervisorFailed("it does not answer")

    async def attach(self, _folder: Path) -> Host:
        return self

    async def is_saved(self) -> bool:
        return True

    async def end(self) -> None:
        self.on = False

    async def hang_up(self) -> None:
        pass


@pytest.fixture
def made(tmp_path: Path, spec: Callable[..., Any]) -> Callable[..., tuple[Machine, Host]]:
    """A machine in that phase, with a memory of its whole size reserved, or not, and files."""

    def make(phase: Phase, *, reserved: bool, on: bool = False, state: str = STATE) -> Any:
        host = Host(tmp_path, on=on)
        folder = host.machine
        folder.mkdir()
        (folder / LOCK).touch()
        (folder / state).write_bytes(b"state")
        memory = folder / MEMORY
        memory.touch()
        os.truncate(memory, SIZE * MIB)
        if reserved:
            sparse.reserve(memory, SIZE * MIB)
        with memory.open("r+b") as file:
            file.seek(4 * MIB)
            file.write(TOUCHED)
            os.fsync(file.fileno())
        one = spec()
        record = Record(
            *(one.satellite_id, one.generation, one.org, one.name, one.arch),
            hibernate=True,
            image="tiny",
            memory=SIZE,
            cpus=1,
            calls=0,
            worker_port=30_000,
            identity_port=30_001,
            phase=phase,
            since=1.0,
            traits=TRAITS,
        )
        (folder / FILE).write_text(record.to_json())
        return Machine(folder, host), host  # type: ignore[arg-type]

    return make


def is_released(host: Host) -> bool:
    memory = host.machine / MEMORY
    with memory.open("rb") as file:
        file.seek(4 * MIB)
        assert file.read(len(TOUCHED)) == TOUCHED, "what was written stays"
    assert memory.stat().st_size == SIZE * MIB
    return sparse.blocks(memory) < MIB


@pytest.mark.parametrize("phase", [Phase.SAVING, Phase.WAKING])
async def test_a_sleep_or_wake_that_a_crash_cut_off_keeps_no_room(made, phase):
    machine, host = made(phase, reserved=True)
    assert not is_released(host)
    await machine.settle()
    assert machine.read().phase is Phase.HIBERNATED
    assert is_released(host)


async def test_a_wake_that_fails_keeps_no_room(made):
    machine, host = made(Phase.HIBERNATED, reserved=False)
    with pytest.raises(HypervisorFailed):
        await machine.wake()
    assert host.reserved_at_start >= SIZE * MIB
    assert machine.read().phase is Phase.HIBERNATED
    assert is_released(host)


async def test_a_machine_is_written_down_as_hibernated_once_its_room_is_free(made, monkeypatch):
    machine, host = made(Phase.SAVING, reserved=True, on=True, state=SAVING)
    written = []

    def writes(file: Path, text: str) -> None:
        written.append((Record.from_json(text).phase, host.on, is_released(host)))
        write_atomically(file, text)

    monkeypatch.setattr("torpor_provisioner.vm.machine.write_atomically", writes)
    await machine.settle()
    assert written == [(Phase.HIBERNATED, False, True)]
    assert (host.machine / STATE).exists()
