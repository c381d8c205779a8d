"""The protocol as a whole, explored exhaustively; and spoiled, to show that the explorer sees.

What is checked in each state: a node that lost its claim makes no call and changes nothing (1);
no call is repeated that had its effect (2); no machine sleeps under an open stream, and no lease
admits to one that sleeps (3); from everywhere the satellite can come to rest, and each request be
decided (4, 5); what rests is as the cloud has it (6). The numbers are `coordinator`'s.
"""

from __future__ import annotations

from typing import Any

import pytest
from lifemodel import flaws
from lifemodel.explorer import Explored, Step, explore
from lifemodel.protocol import Protocol
from lifemodel.world import Left, World, first, good, key

from torpor_statemachine.lifecycle.machine import EVENTS, Event
from torpor_statemachine.lifecycle.states import State

SPOILED = {
    flaws.NO_EPOCH: Left(requests=1, delays=1),
    flaws.NO_RECHECK: Left(requests=1),
    flaws.NO_BELIEF: Left(requests=1, doubts=1),
    flaws.NO_LOOK: Left(requests=1, crashes=1),
    flaws.NO_SECOND_LOOK: Left(requests=1, doubts=1),
    flaws.ONE_SNAPSHOT: Left(requests=1, doubts=1),
    flaws.NEW_TERM: Left(requests=1, doubts=2, epoch=3),
    flaws.LAPSE: Left(requests=1, doubts=1),
    flaws.NO_DEADLINE: Left(requests=1, delays=1),
    flaws.STALE_TERM: Left(requests=1, doubts=2, epoch=3),
    flaws.OWN_CLAIM: Left(requests=1),
    flaws.NO_RETAKE: Left(requests=1, lost=1),
    flaws.NO_END: Left(requests=1, crashes=1, vanished=1),
    flaws.NO_WORD: Left(requests=1, failovers=1),
    flaws.NO_RECOMMIT: Left(requests=1, failovers=1),
    flaws.NO_GRACE: Left(requests=1, failovers=1),
}
# What a run may suffer, and how many states that makes with two nodes
MISHAPS = [
    (Left(requests=2), 12_000),
    (Left(requests=1, doubts=1), 22_000),
    (Left(requests=1, crashes=1, losses=1), 13_000),
    (Left(requests=1, crashes=1, delays=1), 21_000),
    (Left(requests=1, crashes=1, doubts=1, epoch=3), 13_000),
    (Left(requests=1, crashes=1, vanished=1), 3_900),
    (Left(requests=2, lost=1, epoch=3), 10_000),
    (Left(requests=1, failovers=1), 17_000),
]
MANY_MISHAPS = [
    (2, Left(requests=2, doubts=1), 780_000),
    (2, Left(requests=1, doubts=1, losses=1, epoch=3), 18_000),
    (2, Left(requests=1, delays=1, losses=1), 45_000),
    (2, Left(requests=1, doubts=2, epoch=3), 43_000),
    (2, Left(requests=1, crashes=1, doubts=1, losses=1, delays=1, epoch=3), 170_000),
    (3, Left(requests=2, crashes=2, losses=1, epoch=3), 160_000),
    (3, Left(requests=1, crashes=1, doubts=1, epoch=3), 21_000),
    (3, Left(requests=1, crashes=2, delays=1), 73_000),
    (3, Left(requests=1, doubts=1), 26_000),
    (2, Left(requests=1, crashes=1, vanished=1, lost=1, losses=1), 74_000),
    (2, Left(requests=2, lost=1), 62_000),
    (2, Left(requests=2, failovers=1, epoch=3), 150_000),
    (2, Left(requests=1, failovers=1, crashes=1, losses=1), 280_000),
    (2, Left(requests=1, failovers=1, doubts=1, epoch=3), 63_000),
    (2, Left(requests=1, failovers=2), 110_000),
    (3, Left(requests=2, lost=1, epoch=3), 22_000),
]


def _named(value: object) -> str:
    if not isinstance(value, Left):
        return str(value)
    what = value._asdict().items()
    return "-".join(f"{number}{name}" for name, number in what if number and name != "epoch")


def _explored(nodes: int, left: Left, *spoiled: str) -> Explored[World]:
    steps = Protocol(frozenset(spoiled)).steps
    return explore(first(nodes, left), steps, key=key, good=good)


@pytest.mark.parametrize(("left", "states"), MISHAPS, ids=_named)
def test_nothing_breaks_two_nodes(left: Left, states: int) -> None:
    explored = _explored(2, left)
    assert not explored.broken, str(explored)
    assert explored.states > states  # else the model has lost some of what can happen


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("nodes", "left", "states"), MANY_MISHAPS, ids=_named)
def test_nothing_breaks_them_at_length(nodes: int, left: Left, states: int) -> None:
    explored = _explored(nodes, left)
    print(f"{nodes} nodes, {left}: {explored}")
    assert not explored.broken, str(explored)
    assert explored.states > states


@pytest.mark.parametrize("spoiled", SPOILED)
def test_each_precaution_is_needed(spoiled: str) -> None:
    explored = _explored(2, SPOILED[spoiled], spoiled)
    print(f"Where {spoiled}: {explored}")
    assert explored.broken
    assert explored.trace


def test_what_is_assumed_of_calls_is_needed() -> None:
    """No claim can call back what is on its way to the cloud: see `coordinator`."""
    explored = _explored(2, Left(requests=1, doubts=1), flaws.LATE_CALLS)
    assert explored.broken == "a second call is made though the first had its effect"


def test_what_the_contract_asks_of_clouds_is_needed() -> None:
    """A call that is given up must not take effect later: see `torpor_provisioner.contract`."""
    explored = _explored(2, Left(requests=1, losses=1), flaws.LATE_EFFECTS)
    assert explored.broken
    assert "a call that was given up lands" in str(explored)


def test_a_call_under_a_claim_that_a_failover_has_just_lost_may_cut_a_stream() -> None:
    """Nobody can tell its node before its next heartbeat: docs/database.md says so."""
    explored = _explored(2, Left(requests=1, failovers=1), flaws.FAILOVER_CALLS)
    assert explored.broken == "the machine sleeps under an open stream"


def test_everything_that_is_modelled_happens() -> None:
    told: set[Any] = set()

    def listening(world: World) -> list[Step[World]]:
        taken = list(Protocol().steps(world))
        told.update(step.what.split(" ", 2)[2] for step in taken if step.what.startswith("node"))
        told.update(step.what for step in taken if not step.what.startswith("node"))
        return taken

    for left in (
        Left(requests=2, epoch=3),
        Left(requests=1, crashes=1, losses=1, delays=1, epoch=3),
        Left(requests=1, doubts=2, epoch=2),
        Left(requests=1, crashes=1, vanished=1, lost=1, epoch=3),
        Left(requests=1, failovers=1, epoch=4),
    ):
        explore(first(2, left), listening, key=key)
    assert {f"claims: {event}" for event in ("wake", "sleep", "took_over")} <= told
    completing = {edge for edge in EVENTS if EVENTS[edge].sources & {State.WAKING, State.SLEEPING}}
    of_a_machine_that_is_gone = {Event.LOST}
    assert {f"writes {event}" for event in completing - of_a_machine_that_is_gone} <= told
    assert {
        "crashes, and its call lands",
        "has its lease lost by a failover",
        "vanishes, and its session keeps the row locked",
        "Postgres ends the session that vanished",
        "is given up by the database",
        "begins a new term",
        "asks for a wake",
        "fails its request",
        "gives its call up",
        "comes too late with what it saw",
        "says that it has a stream",
        "a failover loses what came since",
        "the machine is found to be otherwise",
    } <= told
