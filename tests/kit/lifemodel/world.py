"""What a state of the exploration is made of: the row, the machine, the nodes, and what is left."""

from __future__ import annotations

from typing import Any, NamedTuple

from lifemodel.decisions import drifted
from lifemodel.guards import Row

from torpor_statemachine.lifecycle.states import State


class Work(NamedTuple):
    """A claim's, as its node carries it out. `at`: its next step; `won`: not yet heard of."""

    state: State
    epoch: int
    at: str
    won: bool = True
    covered: bool = True  # belief has not lapsed since, or the claim was confirmed after
    old: bool = False  # begun before the heartbeat that is on its way
    in_time: bool = True
    refused: bool = False
    made: bool = False  # its call, which may yet show its effect


class Node(NamedTuple):
    up: bool = True
    belief: int = 2  # 2: in its claims and leases, 1: in its leases, 0: in nothing
    life: int = 2  # the same, as the database has it
    leased: bool = False  # in the database
    book: int = 0  # the epoch of the lease in its book; 0: none
    stream: int = 0  # 1: open; 2: open, and its lease was rightly lost
    held: bool = False  # a request waits
    began: tuple[int, bool] = (0, False)  # what the row was when it began to
    door: tuple[Any, ...] = ()  # an answer on its way to the waiter
    works: tuple[Work, ...] = ()
    beat: tuple[object, ...] = ()  # a heartbeat on its way
    unknown: int = 0  # the epoch of a claim in its name that it knows nothing of
    dropping: bool = False
    lost: bool = False  # its lease, by a failover
    kept: bool = False  # whether its lease is in the standby, once that hears no more
    note: int = 0  # the epoch of a claim that it has seen undone, or of a satellite seen idle


class Left(NamedTuple):
    """How much may yet go wrong, and be asked for."""

    crashes: int = 0
    doubts: int = 0
    losses: int = 0
    delays: int = 0
    vanished: int = 0
    lost: int = 0
    failovers: int = 0
    requests: int = 0
    epoch: int = 4


class World(NamedTuple):
    row: Row
    machine: bool  # whether it runs
    nodes: tuple[Node, ...]
    left: Left
    coming: bool | None = None  # an effect on its way that nobody waits for: whether it is a wake
    locked: bool = False  # the satellite's row, by a session that vanished
    kept: Row | None = None  # as the standby has it, once that hears no more
    astray: bool = False  # a failover has lost what was known of the machine

    def __repr__(self) -> str:
        return f"{self.row}, machine {'up' if self.machine else 'down'}, {self.nodes}"


def first(nodes: int, left: Left) -> World:
    return World(Row(State.ASLEEP, 1), False, (Node(),) * nodes, left)


def key(world: World) -> object:
    """The nodes' names do not matter."""
    by = world.row.claimed_by
    kept_by = world.kept.claimed_by if world.kept is not None else None
    nodes = sorted(
        (*node, number == by, number == kept_by) for number, node in enumerate(world.nodes)
    )
    row = world.row._replace(claimed_by=None)
    kept = world.kept._replace(claimed_by=None) if world.kept is not None else None
    left, what = world.left, (world.coming, world.locked, world.astray)
    return row, world.machine, tuple(nodes), left, what, kept


def good(world: World) -> bool:
    """The satellite rests and nobody waits; or the exploration ends here."""
    if world.row.epoch >= world.left.epoch:
        return True
    agrees = not (world.astray and drifted(world.row.state, world.machine))
    rests = world.row.claimed_by is None and agrees
    return rests and not any(node.held for node in world.nodes)
