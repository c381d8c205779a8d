"""A node's duties towards every satellite: to reap, to wake what is wanted, to take claims over."""

from __future__ import annotations

from collections.abc import Iterator

from lifemodel import guards
from lifemodel.flaws import NO_LOOK, NO_RECHECK, NO_SECOND_LOOK, OWN_CLAIM
from lifemodel.guards import Seen
from lifemodel.turn import Move, Turn
from lifemodel.world import Node

from torpor_statemachine.lifecycle.machine import Event
from torpor_statemachine.lifecycle.states import State


def moves(turn: Turn) -> Iterator[Move]:
    row, node = turn.row, turn.node
    if not turn.may_claim():
        return
    lives = node.life == 2
    seen = Seen(row.state, row.epoch, row.claimed_by)
    if row.claimed_by is None:
        if row.state is State.RUNNING:
            yield from _reaps(turn, seen, lives)
        if row.wake_requested and guards.claims(Event.WAKE, row, seen, lives=lives, leased=False):
            yield from turn.claimed(Event.WAKE, "call")
        return
    if row.claimed_by == turn.number:
        adopts = node.unknown == row.epoch and (OWN_CLAIM in turn.spoiled or not node.works)
        if not (row.late or adopts):
            return
    lives = turn.world.nodes[row.claimed_by].life == 2
    accepted = guards.takes_over(row, seen, turn.number, claimant_lives=lives)
    if NO_SECOND_LOOK in turn.spoiled:
        if accepted and node.note != row.epoch:
            yield "sees a claim undone", turn.after(node._replace(note=row.epoch))
        accepted = node.note == row.epoch
    if accepted:
        ready = node._replace(unknown=0, note=0)
        yield from turn.claimed(Event.TOOK_OVER, _taken_up(turn), ready)


def _taken_up(turn: Turn) -> str:
    if turn.row.state is State.SLEEPING and not turn.row.sleep_called:
        return "commit"
    return "call" if NO_LOOK in turn.spoiled else "look"


def _finds_out(node: Node) -> bool:
    """A satellite is idle for `sleep_after` before it is put to sleep, which outlasts a heartbeat:
    who has lost a lease under a stream finds out before."""
    return node.up and node.lost and bool(node.stream == 1 or node.book or node.door)


def _reaps(turn: Turn, seen: Seen, lives: bool) -> Iterator[Move]:
    if any(_finds_out(node) for node in turn.world.nodes):
        return
    leased = any(node.leased for node in turn.world.nodes)
    if NO_RECHECK in turn.spoiled:
        if not leased and turn.node.note != turn.row.epoch:
            idle = turn.node._replace(note=turn.row.epoch)
            yield "sees that nobody has a lease", turn.after(idle)
        leased = turn.node.note != turn.row.epoch
    if guards.claims(Event.SLEEP, turn.row, seen, lives=lives, leased=leased):
        yield from turn.claimed(Event.SLEEP, "commit", turn.node._replace(note=0))
