"""One node's turn: the state as it finds it, and the states that it can make of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lifemodel.guards import Row
from lifemodel.world import Node, Work, World

from torpor_statemachine.lifecycle.machine import Event, target

Move = tuple[str, World | str]  # what happens, and the world after it or what it breaks


class Turn:
    """Of node `number`. Ways to spoil the protocol are in `spoiled`; see `flaws`."""

    def __init__(self, spoiled: frozenset[str], world: World, number: int, node: Node) -> None:
        self.spoiled = spoiled
        self.world = world
        self.row = world.row
        self.left = world.left
        self.number = number
        self.node = node

    def after(self, node: Node, row: Row | None = None, machine: bool | None = None) -> World:
        nodes = list(self.world.nodes)
        nodes[self.number] = node
        return self.world._replace(
            nodes=tuple(nodes),
            row=self.row if row is None else row,
            machine=self.world.machine if machine is None else machine,
        )

    def changed(self, work: Work, **how: Any) -> Node:
        after = work._replace(**how)
        works = tuple(after if one is work else one for one in self.node.works)
        return self.node._replace(works=works)

    def without(self, work: Work) -> Node:
        return self.node._replace(works=tuple(one for one in self.node.works if one is not work))

    def spent(self, world: World, **what: int) -> World:
        left = {name: getattr(self.left, name) - spent for name, spent in what.items()}
        return world._replace(left=self.left._replace(**left))

    def claimed(self, event: Event, at: str, node: Node | None = None) -> Iterator[Move]:
        """The claim takes effect; its answer is yet to be heard, or is lost."""
        node = node or self.node
        epoch = self.row.epoch + 1
        state = self.row.state if event is Event.TOOK_OVER else target(event, self.row.state)
        row = self.row._replace(state=state, epoch=epoch, claimed_by=self.number, late=False)
        if event is Event.WAKE:
            row = row._replace(wake_requested=False, failed=False)
        elif event is Event.SLEEP:
            row = row._replace(wake_requested=False, failed=False, sleep_called=False)
        won = node._replace(works=(*node.works, Work(state, epoch, at)))
        yield f"claims: {event}", unleased(self.after(won, row))
        if self.left.losses:
            lost = unleased(self.after(node, row))
            yield f"claims: {event}, and the answer is lost", self.spent(lost, losses=1)

    def may_claim(self) -> bool:
        return self.row.epoch < self.left.epoch


def unleased(world: World) -> World:
    """Each change of the state ends the leases on the satellite."""
    return world._replace(nodes=tuple(node._replace(leased=False) for node in world.nodes))
