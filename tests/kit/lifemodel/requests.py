"""Requests that are held, the leases they are let in on, and the streams that they become."""

from __future__ import annotations

from collections.abc import Iterator

from lifemodel import guards
from lifemodel.decisions import decided
from lifemodel.flaws import NO_RETAKE, NO_WORD
from lifemodel.guards import Seen
from lifemodel.turn import Move, Turn

from torpor_statemachine.lifecycle.machine import Event
from torpor_statemachine.lifecycle.policy import ClaimWake, Fail, RequestWake
from torpor_statemachine.lifecycle.states import State


def moves(turn: Turn) -> Iterator[Move]:
    yield from _requests(turn)
    yield from _streams(turn)


def _requests(turn: Turn) -> Iterator[Move]:
    node = turn.node
    if turn.left.requests and not node.held and not node.stream:
        asked = node._replace(held=True, began=(turn.row.epoch, turn.row.failed))
        yield "holds a request", turn.spent(turn.after(asked), requests=1)
    if node.door:
        yield from _answered(turn)
    elif (node.held or _retakes(turn)) and not node.dropping:
        yield from _takes(turn)


def _retakes(turn: Turn) -> bool:
    return bool(turn.node.stream and not turn.node.book) and NO_RETAKE not in turn.spoiled


def _takes(turn: Turn) -> Iterator[Move]:
    row = turn.row
    if guards.gives_lease(row, term_lives=turn.node.life >= 1):
        leased = turn.node._replace(leased=True, lost=False)
        yield "takes a lease", turn.after(leased._replace(door=("leased", row.epoch)))
        if turn.left.losses:
            lost = turn.after(leased)
            yield "takes a lease, and the answer is lost", turn.spent(lost, losses=1)
    elif _speaks_up(turn):
        yield "says that it has a stream", turn.after(turn.node, row._replace(wake_requested=True))
    elif turn.node.held and _next_step(turn, row.state, row.epoch) is not None:
        saw = ("saw", row.state, row.epoch)
        yield "looks at the row", turn.after(turn.node._replace(door=saw))


def _speaks_up(turn: Turn) -> bool:
    """A failover has lost that its satellite is awake: it is believed to be falling asleep."""
    missed = turn.node.stream == 1 and turn.node.lost and NO_WORD not in turn.spoiled
    return missed and turn.row.state is State.SLEEPING and not turn.row.wake_requested


def _next_step(turn: Turn, state: State, epoch: int) -> object | None:
    """None: it waits."""
    row = turn.row
    epoch_began, failed_began = turn.node.began
    return decided(state, epoch, row.wake_requested, row.failed, epoch_began, failed_began)


def _answered(turn: Turn) -> Iterator[Move]:
    kind, *told = turn.node.door
    node = turn.node._replace(door=())
    if kind == "leased":
        (epoch,) = told
        if turn.world.astray and not turn.world.machine:  # nothing answers there
            failed = turn.after(node._replace(held=False, dropping=True))
            yield "fails its request, for the machine is asleep", failed
            return
        admitted = node.held and node.belief >= 1
        stream = 1 if admitted else node.stream
        beat = (*node.beat[:-1], 0) if node.beat[1:] else node.beat  # it asked before this
        node = node._replace(book=epoch, held=False, stream=stream, beat=beat)
        yield "has its lease", turn.after(node)
        return
    state, epoch = told
    step = _next_step(turn, state, epoch)
    seen = Seen(state, epoch)
    lives = node.life == 2
    match step:
        case Fail():
            yield "fails its request", turn.after(node._replace(held=False))
        case ClaimWake() if turn.may_claim() and guards.claims(
            Event.WAKE, turn.row, seen, lives=lives, leased=False
        ):
            yield from turn.claimed(Event.WAKE, "call", node)
        case RequestWake() if guards.requests_wake(turn.row, epoch):
            yield "asks for a wake", turn.after(node, turn.row._replace(wake_requested=True))
        case _:
            yield "comes too late with what it saw", turn.after(node)


def _streams(turn: Turn) -> Iterator[Move]:
    node = turn.node
    if node.stream or node.book:
        gives_up = node.book > 0 and not node.door  # else what is being taken might be given up
        ended = node._replace(stream=0, book=0, dropping=node.dropping or gives_up)
        yield "has no stream any more", turn.after(ended)
    if node.dropping:
        dropped = node._replace(dropping=False)
        yield "gives its lease up", turn.after(dropped._replace(leased=False))
        if turn.left.losses:
            yield "cannot give its lease up", turn.spent(turn.after(dropped), losses=1)
    if node.book and turn.row.epoch > node.book:
        yield "hears of a change", turn.after(node._replace(book=0))
