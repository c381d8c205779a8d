"""The work that a claim obliges to: from the answer to it until the completion is written."""

from __future__ import annotations

from collections.abc import Iterator

from lifemodel import guards
from lifemodel.flaws import (
    FAILOVER_CALLS,
    LATE_EFFECTS,
    NO_BELIEF,
    NO_DEADLINE,
    NO_EPOCH,
    NO_GRACE,
    NO_RECOMMIT,
    NO_WORD,
)
from lifemodel.guards import Seen
from lifemodel.turn import Move, Turn, unleased
from lifemodel.world import Work

from torpor_statemachine.lifecycle.machine import Event, target
from torpor_statemachine.lifecycle.states import State


def moves(turn: Turn) -> Iterator[Move]:
    for work in turn.node.works:
        yield from _hears(turn, work) if work.won else _works(turn, work)


def _hears(turn: Turn, work: Work) -> Iterator[Move]:
    """Of a claim that it has won: any older work is given up."""
    newer = any(not one.won and one.epoch > work.epoch for one in turn.node.works)
    if newer:
        yield "hears late of its claim", turn.after(turn.without(work))
        return
    kept = tuple(
        one._replace(won=False) if one is work else one
        for one in turn.node.works
        if one is work or one.won
    )
    yield "hears of its claim", turn.after(turn.node._replace(works=kept))


def _works(turn: Turn, work: Work) -> Iterator[Move]:
    waking = work.state is State.WAKING
    match work.at:
        case "commit":
            yield from _commits(turn, work)
        case "call":
            yield from _calls(turn, work)
            if work.refused or not work.in_time:
                event = Event.WAKE_REFUSED if waking else Event.SLEEP_FAILED
                yield from _settles(turn, work, event)
        case "land":
            landed = turn.changed(work, at="look")
            yield "has its call land", turn.after(landed, machine=waking)
            if turn.left.losses:
                refused = turn.after(turn.changed(work, at="look", refused=True))
                yield "is refused by the cloud", turn.spent(refused, losses=1)
                given_up = turn.after(turn.changed(work, at="look"))
                if LATE_EFFECTS in turn.spoiled:
                    given_up = given_up._replace(coming=waking)
                yield "gives its call up", turn.spent(given_up, losses=1)
        case "look":
            there = turn.world.machine is waking
            asked = waking or turn.row.failed or work.made or NO_RECOMMIT in turn.spoiled
            again = "call" if asked else "commit"
            seen = turn.changed(work, at="done" if there else again)
            yield f"sees the machine {'up' if turn.world.machine else 'down'}", turn.after(seen)
        case _:
            yield from _settles(turn, work, Event.WOKE if waking else Event.SLEPT)
            if waking and not work.in_time:
                yield from _settles(turn, work, Event.WAKE_FAILED)


def _commits(turn: Turn, work: Work) -> Iterator[Move]:
    unheard = any(node.up and node.lost and node.stream == 1 for node in turn.world.nodes)
    waits = not {NO_GRACE, NO_WORD} & turn.spoiled
    if unheard and not turn.row.wake_requested and waits:
        return
    if guards.commits_to_sleep(turn.row, work.epoch):
        row = turn.row._replace(sleep_called=True)
        yield "commits to the sleep", turn.after(turn.changed(work, at="call"), row)
        if turn.left.losses:
            lost = turn.spent(turn.after(turn.node, row), losses=1)
            yield "commits to the sleep, and the answer is lost", lost
    else:
        yield from _settles(turn, work, Event.SLEEP_ABANDONED)


def _calls(turn: Turn, work: Work) -> Iterator[Move]:
    believes = turn.node.belief == 2 and work.covered
    if not believes and NO_BELIEF not in turn.spoiled:
        return
    if not work.in_time and NO_DEADLINE not in turn.spoiled:
        return
    what = f"calls the cloud to {'wake' if work.state is State.WAKING else 'sleep'}"
    lost = turn.row.epoch != work.epoch or turn.row.claimed_by != turn.number
    if lost and turn.world.astray and FAILOVER_CALLS in turn.spoiled:
        yield what, turn.after(turn.changed(work, at="land", made=True))
    elif lost:
        yield what, "a node that lost its claim makes a call"
    elif turn.world.machine is (work.state is State.WAKING) and not turn.world.astray:
        yield what, "a second call is made though the first had its effect"
    else:
        yield what, turn.after(turn.changed(work, at="land", made=True))


def _settles(turn: Turn, work: Work, event: Event) -> Iterator[Move]:
    row = turn.row
    seen = Seen(work.state, row.epoch if NO_EPOCH in turn.spoiled else work.epoch)
    without = turn.without(work)
    if not guards.completes(event, row, seen, turn.number):
        yield f"cannot write {event}", turn.after(without)
        return
    if NO_EPOCH not in turn.spoiled and row.epoch != work.epoch:
        yield f"writes {event}", "a node that lost its claim changes the row"
        return
    after = row._replace(state=target(event, work.state), claimed_by=None, late=False)
    if event is Event.WAKE_FAILED:
        if not turn.may_claim():
            return
        after = after._replace(
            epoch=row.epoch + 1,
            claimed_by=turn.number,
            sleep_called=True,
            wake_requested=False,
            failed=True,
        )
        goes_on = Work(after.state, after.epoch, "call")
        without = without._replace(works=(*without.works, goes_on))
    elif event is Event.SLEPT:
        after = after._replace(sleep_called=False)
    elif event is Event.WAKE_REFUSED:
        after = after._replace(failed=True)
    else:
        failed = event is Event.SLEEP_FAILED
        after = after._replace(sleep_called=False, wake_requested=False, failed=failed)
    yield f"writes {event}", unleased(turn.after(without, after))
