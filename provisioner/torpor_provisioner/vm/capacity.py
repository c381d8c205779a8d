"""How many machines of a host may be awake at once, and who is next when it is full.

Machines that sleep cost disk only. An awake one has its memory and its processors; a host may give
four fifths of its memory, and each processor four times over, for builds wait for their networks
and disks. What limits the host is the machine or the cgroup that the router runs in.

A wake that finds no room waits for its turn: the org with the fewest machines awake comes first,
and of one org who has waited longest. It asks again and again (the contract's callers do); one that
does not any more has lost its place.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from torpor_provisioner.files import write_atomically
from torpor_provisioner.vm.errors import HostFull
from torpor_provisioner.vm.record import AWAKE, Record

QUEUE = "queue.json"
ASKS_WITHIN = 45.0  # seconds between two questions of one that still waits
SHARE = 0.8  # of the host's memory
OVERCOMMIT = 4  # of its processors
_MIB = 1 << 20
_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Room:
    """What all machines that are awake may have together."""

    memory: int  # MiB
    cpus: int

    @classmethod
    def of_host(cls, memory: int = 0, cpus: int = 0) -> Room:
        """The host's, but for what is given otherwise."""
        return cls(memory or int(_host_memory() * SHARE), cpus or _host_cpus() * OVERCOMMIT)


@dataclass(frozen=True, slots=True)
class Ticket:
    ref: str
    org: str
    since: float
    asked_at: float


class Admission:
    """To be asked under the lock of all machines."""

    def __init__(self, folder: Path, room: Room) -> None:
        self._file = folder / QUEUE
        self._room = room

    def admit(
        self, ref: str, record: Record, machines: Iterable[tuple[str, Record]], now: float
    ) -> None:
        """Go on, if the machine may be awake.

        Raises:
            HostFull: it may not yet; it has a place in the queue.
        """
        awake = [each for other, each in machines if other != ref and each.phase in AWAKE]
        queue = {t.ref: t for t in self._read() if 0 <= now - t.asked_at < ASKS_WITHIN}
        held = queue.get(ref)
        queue[ref] = Ticket(ref, record.org, held.since if held else now, now)
        orgs = Counter(each.org for each in awake)
        order = sorted(queue.values(), key=lambda ticket: (orgs[ticket.org], ticket.since))
        memory = record.memory + sum(each.memory for each in awake)
        cpus = record.cpus + sum(each.cpus for each in awake)
        fits = memory <= self._room.memory and cpus <= self._room.cpus
        if fits and order[0].ref == ref:
            del queue[ref]
            self._write(list(queue.values()))
            return
        self._write(list(queue.values()))
        place = [ticket.ref for ticket in order].index(ref) + 1
        raise HostFull(
            f"{len(awake)} are awake with {memory - record.memory} of {self._room.memory} MiB and"
            f" {cpus - record.cpus} of {self._room.cpus} processors; it needs {record.memory} MiB"
            f" and {record.cpus}, and is number {place} in turn"
        )

    def _read(self) -> list[Ticket]:
        try:
            return [Ticket(**each) for each in json.loads(self._file.read_text())]
        except (FileNotFoundError, TypeError):  # TypeError: another version's
            return []

    def _write(self, queue: list[Ticket]) -> None:
        if queue:
            write_atomically(self._file, json.dumps([asdict(each) for each in queue]))
        else:
            self._file.unlink(missing_ok=True)


def _host_memory() -> int:
    """MiB."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(whole, *_cgroup("memory.max")) // _MIB if _cgroup("memory.max") else whole // _MIB


def _host_cpus() -> int:
    there = len(os.sched_getaffinity(0))
    limits = [int(quota) / int(period) for quota, period in _cgroup_cpu()]
    return max(1, int(min(there, *limits))) if limits else there


def _cgroup(file: str) -> list[int]:
    return [int(text) for text in _read_above(file) if text.isdecimal()]


def _cgroup_cpu() -> list[tuple[str, str]]:
    pairs = (text.split() for text in _read_above("cpu.max"))
    return [(pair[0], pair[1]) for pair in pairs if len(pair) == 2 and pair[0].isdecimal()]


def _read_above(file: str) -> list[str]:
    """This process's cgroup's and those above it, of version 2; each of them limits."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    own = next((line[3:] for line in lines if line.startswith("0::")), None)
    if own is None:
        return []
    folder = _CGROUP / own.lstrip("/")
    found = []
    for each in (folder, *folder.parents):
        if each == _CGROUP.parent:
            break
        try:
            found.append((each / file).read_text().strip())
        except OSError:
            continue
    return found
