"""Every process of a worker: found, signalled, frozen and ended together.

While its keeper lives (see `launcher`), what belongs to a worker is what descends from the keeper,
whatever session or environment a build has given itself; and what is in its cgroup, if it has one
(see `cgroup`), though the keeper were killed. Without either there are still the worker's own
descendants, its session, and the mark that its environment carries.
"""

from __future__ import annotations

import os
import signal
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from torpor_provisioner.local import cgroup, processes
from torpor_provisioner.local.processes import Identity, Process

FREEZE_WAIT = 1.0  # seconds for every process to stop; one in a disk wait follows by itself
POLL = 0.002  # seconds
CALM = 2  # looks in a row; what is forked while the table is read may be missed by one


@dataclass(frozen=True, slots=True)
class Tree:
    """`leader` is the worker's own process, `keeper` the parent that stays beside it."""

    leader: Identity
    keeper: Identity | None = None
    cgroup: Path | None = None

    def members(self) -> list[Process]:
        """All that live, without the keeper."""
        table = {each.identity.pid: each for each in processes.table() if each.alive}
        led = self._lives(self.leader, table)
        kept = self.keeper is not None and self._lives(self.keeper, table)
        found = self._descendants(table, kept=kept)
        if led:
            found[self.leader.pid] = table[self.leader.pid]
        if self.cgroup is not None:
            found |= {pid: table[pid] for pid in cgroup.members(self.cgroup) & table.keys()}
        for pid, each in table.items():
            if pid not in found and self._is_left(each, led=led, kept=kept):
                found[pid] = each
        if self.keeper is not None and kept:
            found.pop(self.keeper.pid, None)
        return list(found.values())

    def send(self, number: signal.Signals) -> None:
        """Signal every process group: a build that leads one of its own is reached as a whole."""
        for group in {each.group for each in self.members()}:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(group, number)

    def freeze(self) -> None:
        """SIGSTOP all, again until none that was being forked meanwhile still runs."""
        end = time.monotonic() + FREEZE_WAIT
        calm = 0
        while calm < CALM and time.monotonic() < end:
            if all(each.frozen for each in self.members()):
                calm += 1
                continue
            calm = 0
            self.send(signal.SIGSTOP)
            time.sleep(POLL)

    def kill(self, patience: float) -> bool:
        """SIGKILL all; whether nothing is left after `patience` seconds, the keeper included."""
        end = time.monotonic() + patience
        while self.members() or self._is_kept():
            self.send(signal.SIGKILL)
            if time.monotonic() > end:
                return False
            time.sleep(POLL)
        return True

    def _is_kept(self) -> bool:
        return self.keeper is not None and processes.find(self.keeper) is not None

    def _descendants(self, table: dict[int, Process], *, kept: bool) -> dict[int, Process]:
        children: defaultdict[int, list[Process]] = defaultdict(list)
        for each in table.values():
            children[each.parent].append(each)
        root = self.keeper if kept and self.keeper is not None else self.leader
        found: dict[int, Process] = {}
        unseen = [root.pid] if self._lives(root, table) else []
        while unseen:
            for child in children[unseen.pop()]:
                if child.identity.pid not in found:
                    found[child.identity.pid] = child
                    unseen.append(child.identity.pid)
        return found

    def _is_left(self, process: Process, *, led: bool, kept: bool) -> bool:
        """Where the leader is dead its number may have led another session since, so what is left
        of its own is known by the mark that it inherited."""
        if led and process.session == self.leader.pid:
            return True
        return not kept and processes.is_marked(process, self.leader)

    @staticmethod
    def _lives(identity: Identity, table: dict[int, Process]) -> bool:
        process = table.get(identity.pid)
        return process is not None and process.identity == identity
