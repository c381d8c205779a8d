"""The conditions under which the database accepts a write, as pure functions.

They mirror the SQL of `torpor_statemachine.store`; `test_protocol_guards` holds the two together,
guard by guard. The explorer makes its steps with them.
"""

from __future__ import annotations

from typing import NamedTuple

from torpor_statemachine.lifecycle.machine import EVENTS, Event
from torpor_statemachine.lifecycle.states import State


class Row(NamedTuple):
    """What the guards read of a satellite. Nodes are small numbers; None: nobody."""

    state: State
    epoch: int
    claimed_by: int | None = None
    late: bool = False  # its claim's deadline has passed
    sleep_called: bool = False
    wake_requested: bool = False
    failed: bool = False  # it keeps a failure
    backing_off: bool = False  # no wake is due yet


class Seen(NamedTuple):
    """The row as a writer once read it."""

    state: State
    epoch: int
    claimed_by: int | None = None


def _is_as_seen(row: Row, seen: Seen) -> bool:
    return row.epoch == seen.epoch and row.state is seen.state


def claims(
    event: Event, row: Row, seen: Seen, *, lives: bool, leased: bool, force: bool = False
) -> bool:
    """From rest: wake, sleep, terminate, update, repair; from a claim of any node: give up.
    `lives`: the writer's row in nodes."""
    if seen.state not in EVENTS[event].sources:
        return False
    if event in (Event.SLEEP, Event.TERMINATE) and leased and not force:
        return False
    if event is Event.WAKE and row.backing_off:
        return False
    free = row.claimed_by is None or event is Event.GIVE_UP
    return _is_as_seen(row, seen) and free and lives


def takes_over(row: Row, seen: Seen, by: int, *, claimant_lives: bool) -> bool:
    mine = seen.claimed_by == by
    undone = mine or row.late or not claimant_lives
    return _is_as_seen(row, seen) and row.claimed_by is not None and undone


def completes(event: Event, row: Row, seen: Seen, by: int) -> bool:
    return seen.state in EVENTS[event].sources and _is_as_seen(row, seen) and row.claimed_by == by


def commits_to_sleep(row: Row, epoch: int) -> bool:
    return row.state is State.SLEEPING and row.epoch == epoch and not row.wake_requested


def requests_wake(row: Row, epoch: int) -> bool:
    return row.state is State.SLEEPING and row.epoch == epoch


def gives_lease(row: Row, *, term_lives: bool) -> bool:
    """`term_lives`: the row in nodes is of the writer's term, and its leases count."""
    return row.state is State.RUNNING and row.claimed_by is None and term_lives


def renews(*, same_term: bool, leases_live: bool) -> bool:
    return same_term and leases_live
