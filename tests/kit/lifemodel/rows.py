"""The store's rows as plain Python has them: nodes, satellites, and who holds a lease on which.

Whether a write is accepted is for `guards` to say; here is what it leaves behind. Nodes are small
numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID, uuid4

from lifemodel.guards import Row

from torpor_statemachine.lifecycle.machine import EVENTS, Event
from torpor_statemachine.lifecycle.states import State


@dataclass
class NodeModel:
    id: UUID = field(default_factory=uuid4)
    term: int = 0  # as the node knows it
    row_term: int | None = None  # as the database does
    lives: bool = False
    leases_live: bool = False

    def registered(self, term: int) -> None:
        self.term = self.row_term = term
        self.lives = self.leases_live = True

    def forgotten(self) -> None:
        self.row_term, self.lives, self.leases_live = None, False, False


@dataclass
class SatelliteModel:
    id: UUID
    row: Row
    idle: bool = False  # its clock runs
    due: bool = False
    leases: set[int] = field(default_factory=set)
    log: int = 1

    def leased(self, by: int) -> None:
        self.leases.add(by)
        self.idle = self.due = False

    def idles_if_unused(self) -> None:
        rests = self.row.state is State.RUNNING and self.row.claimed_by is None
        if rests and not self.idle and not self.leases:
            self.idle, self.due = True, False

    def claimed(self, event: Event, by: int) -> None:
        row = self.row._replace(
            state=EVENTS[event].target, epoch=self.row.epoch + 1, claimed_by=by, late=False
        )
        if event in (Event.WAKE, Event.SLEEP):
            row = row._replace(wake_requested=False)
        if event is Event.SLEEP:
            row = row._replace(sleep_called=False)
        self.row = row
        self.log += 1
        self.idle = self.due = False
        self.leases.clear()

    def taken_over(self, by: int) -> None:
        self.row = self.row._replace(epoch=self.row.epoch + 1, claimed_by=by, late=False)
        self.log += 1

    def completed(self, event: Event) -> None:
        target = EVENTS[event].target
        self.log += 1
        if event is Event.WAKE_FAILED:  # its claim goes on, with a sleep
            self.row = self.row._replace(
                state=target, epoch=self.row.epoch + 1, sleep_called=True, wake_requested=False
            )
            return
        self.row = self.row._replace(state=target, claimed_by=None, late=False)
        if target is State.RUNNING:
            self.row = self.row._replace(sleep_called=False, wake_requested=False)
            self.idle, self.due = True, False
        elif event is Event.SLEPT:
            self.row = self.row._replace(sleep_called=False)
