"""What befalls a node: the database gives it up, it stands still, crashes, or takes too long."""

from __future__ import annotations

from collections.abc import Iterator

from lifemodel.flaws import LATE_CALLS
from lifemodel.turn import Move, Turn
from lifemodel.world import Node, World

from torpor_statemachine.lifecycle.states import State


def moves(turn: Turn) -> Iterator[Move]:
    if turn.node.life and (aged := _age(turn)) is not None:
        yield "is given up by the database", aged
    if turn.node.up:
        yield from _mishaps(turn)


def _age(turn: Turn) -> World | None:
    node = turn.node
    if node.up and node.belief >= node.life:
        return None
    lands = any(work.at == "land" for work in node.works)
    if node.up and node.life == 2 and lands and LATE_CALLS not in turn.spoiled:
        return None
    life = node.life - 1
    beat = node.beat
    if beat and beat[0] == "told":
        beat = (*beat[:3], min(int(str(beat[3])), life), *beat[4:])
    node = node._replace(life=life, beat=beat)
    if life == 0:  # its term is over, and its leases fall
        node = node._replace(leased=False, stream=2 if node.stream else 0)
    return turn.after(node)


def _mishaps(turn: Turn) -> Iterator[Move]:
    node = turn.node
    if turn.left.doubts and node.belief:
        doubting = turn.after(node._replace(belief=node.belief - 1))
        yield "stands still for long", turn.spent(doubting, doubts=1)
    others = sum(one.up for one in turn.world.nodes) > 1
    if turn.left.crashes and others:
        dead = Node(up=False, belief=0, life=node.life, leased=node.leased)
        crashed = turn.spent(turn.after(dead), crashes=1)
        yield "crashes", crashed
        if turn.left.vanished:
            locked = turn.spent(crashed, vanished=1)._replace(locked=True)
            yield "vanishes, and its session keeps the row locked", locked
        for work in node.works:
            if work.at == "land":
                landed = crashed._replace(machine=work.state is State.WAKING)
                yield "crashes, and its call lands", landed
    if turn.left.lost and node.leased:
        lost = turn.after(node._replace(leased=False, lost=True))
        yield "has its lease lost by a failover", turn.spent(lost, lost=1)
    for work in node.works:
        if turn.left.delays and work.in_time:
            late = turn.after(turn.changed(work, in_time=False))
            yield "takes too long", turn.spent(late, delays=1)
