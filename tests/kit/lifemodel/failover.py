"""A failover to a standby that lacks the last commits: the database goes back, nothing else does.

What it makes unavoidable is not held against the protocol: a call that is under way when its claim
is lost (`FAILOVER_CALLS` shows what it would do), a call made again, and that the row differs from
the machine until somebody looks. No stream is ever cut by what follows.
"""

from __future__ import annotations

from collections.abc import Iterator

from lifemodel.decisions import drifted
from lifemodel.flaws import FAILOVER_CALLS
from lifemodel.world import Node, World

from torpor_statemachine.lifecycle.states import State


def moves(world: World, spoiled: frozenset[str]) -> Iterator[tuple[str, World]]:
    if world.left.failovers and world.kept is None:
        nodes = tuple(node._replace(kept=node.leased) for node in world.nodes)
        yield "the standby hears no more", world._replace(kept=world.row, nodes=nodes)
    if world.kept is not None and world.kept != world.row:
        yield "a failover loses what came since", _failed_over(world, spoiled)
    if world.astray and world.row.claimed_by is None and drifted(world.row.state, world.machine):
        yield "the machine is found to be otherwise", _found(world)


def _failed_over(world: World, spoiled: frozenset[str]) -> World:
    row = world.kept
    assert row is not None
    nodes = tuple(
        _after(node, mine=row.epoch if row.claimed_by == number else 0, spoiled=spoiled)
        for number, node in enumerate(world.nodes)
    )
    left = world.left._replace(failovers=world.left.failovers - 1)
    return world._replace(row=row, nodes=nodes, left=left, kept=None, astray=True)


def _after(node: Node, *, mine: int, spoiled: frozenset[str]) -> Node:
    """Its connections are cut: no answer comes that was on its way."""
    works = tuple(work for work in node.works if work.epoch == mine or FAILOVER_CALLS in spoiled)
    lost = (node.leased or bool(node.book)) and not node.kept
    return node._replace(
        leased=node.kept,
        kept=False,
        lost=node.lost or lost,
        works=works,
        beat=(),
        door=(),
        unknown=0,
    )


def _found(world: World) -> World:
    state = State.RUNNING if world.machine else State.ASLEEP
    row = world.row._replace(
        state=state, epoch=world.row.epoch + 1, sleep_called=False, wake_requested=False
    )
    return world._replace(row=row, nodes=tuple(node._replace(leased=False) for node in world.nodes))
