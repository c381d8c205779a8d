"""Who may be awake, and who is next."""

from __future__ import annotations

import json
from pathlib import Path
from uuid import uuid4

import pytest

from torpor_provisioner.contract import Arch
from torpor_provisioner.vm import capacity
from torpor_provisioner.vm.capacity import ASKS_WITHIN, Admission, Room
from torpor_provisioner.vm.errors import HostFull
from torpor_provisioner.vm.record import Phase, Record


def record(org: str = "acme", phase: Phase = Phase.HIBERNATED, memory: int = 256) -> Record:
    return Record(
        satellite_id=uuid4(),
        generation=1,
        org=org,
        name="one",
        arch=Arch.X86_64,
        hibernate=True,
        image="tiny",
        memory=memory,
        cpus=1,
        worker_port=1,
        identity_port=2,
        phase=phase,
        since=0.0,
        calls=1,
    )


class Fleet:
    def __init__(self, folder: Path, room: Room) -> None:
        self.admission = Admission(folder, room)
        self.machines: dict[str, Record] = {}
        self.now = 1000.0

    def asks(self, ref: str) -> bool:
        """Whether it may be awake; then it is."""
        asking = self.machines[ref]
        try:
            self.admission.admit(ref, asking, self.machines.items(), self.now)
        except HostFull:
            return False
        self.machines[ref] = asking.becomes(Phase.RUNNING, self.now)
        return True

    def sleeps(self, ref: str) -> None:
        self.machines[ref] = self.machines[ref].becomes(Phase.HIBERNATED, self.now)


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path, Room(memory=512, cpus=8))


def test_what_fits_is_admitted_and_what_does_not_is_told_its_place(fleet, tmp_path):
    fleet.machines = {name: record() for name in ("a", "b", "c", "d")}
    assert [fleet.asks(name) for name in ("a", "b", "c", "d")] == [True, True, False, False]
    with pytest.raises(HostFull, match=r"512 of 512 MiB .* it needs 256 MiB .* number 2 in turn"):
        fleet.admission.admit("d", fleet.machines["d"], fleet.machines.items(), fleet.now)
    fleet.sleeps("a")
    assert not fleet.asks("d"), "c has waited longer"
    assert fleet.asks("c")
    fleet.sleeps("b")
    assert fleet.asks("d")
    assert not (tmp_path / capacity.QUEUE).exists(), "nobody waits, nothing is kept"


def test_processors_count_too(fleet):
    fleet.machines = {str(n): record(memory=1) for n in range(9)}
    assert [fleet.asks(name) for name in fleet.machines] == [True] * 8 + [False]


@pytest.mark.parametrize("phase", [p for p in Phase if p not in {Phase.HIBERNATED, Phase.STOPPED}])
def test_what_is_on_its_way_counts(fleet, phase):
    if phase is Phase.MADE:  # it is yet to be admitted itself
        return
    fleet.machines = {"moving": record(phase=phase, memory=512), "asks": record()}
    assert not fleet.asks("asks")


def test_the_org_with_the_fewest_awake_comes_first(fleet):
    fleet.machines = {
        **{f"big{n}": record("big", memory=128) for n in range(5)},
        "small": record("small", memory=128),
    }
    assert [fleet.asks(f"big{n}") for n in range(5)] == [True] * 4 + [False]
    assert not fleet.asks("small")
    fleet.sleeps("big0")
    assert not fleet.asks("big4"), "it asked first, but its org has three"
    assert fleet.asks("small")


def test_one_that_needs_much_is_not_passed_by_for_ever(fleet):
    fleet.machines = {"a": record(), "b": record(), "large": record(memory=512), "c": record()}
    assert fleet.asks("a")
    assert not fleet.asks("large")
    assert not fleet.asks("b"), "there is room for it, but not its turn"
    fleet.sleeps("a")
    assert fleet.asks("large")


def test_one_that_asks_no_more_holds_nobody_up(fleet):
    fleet.machines = {"a": record(memory=512), "b": record(), "c": record()}
    assert fleet.asks("a")
    assert not fleet.asks("b")
    fleet.sleeps("a")
    fleet.now += ASKS_WITHIN
    assert fleet.asks("c")


def test_a_clock_that_was_set_back_loses_places_and_nothing_else(fleet):
    fleet.machines = {"a": record(memory=512), "b": record()}
    assert fleet.asks("a")
    assert not fleet.asks("b")
    fleet.now -= 10_000
    fleet.sleeps("a")
    assert fleet.asks("b")


def test_the_host_gives_a_share_of_its_memory():
    room = Room.of_host()
    assert 0 < room.memory < capacity._host_memory()
    assert room.cpus >= capacity.OVERCOMMIT
    assert Room.of_host(memory=100, cpus=3) == Room(100, 3)


def test_a_cgroup_limits_as_the_host_does(monkeypatch):
    limits = {"memory.max": ["max", str(3 << 30)], "cpu.max": ["50000 100000", "max 100000"]}
    monkeypatch.setattr(capacity, "_read_above", lambda file: limits[file])
    assert capacity._host_memory() == 3 << 10
    assert capacity._host_cpus() == 1


def test_the_queue_is_plain_json(fleet, tmp_path):
    fleet.machines = {"a": record(memory=512), "b": record()}
    fleet.asks("a")
    fleet.asks("b")
    [waits] = json.loads((tmp_path / capacity.QUEUE).read_text())
    assert (waits["ref"], waits["org"]) == ("b", "acme")
