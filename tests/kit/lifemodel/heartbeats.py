"""Heartbeats: a node's terms, and what it believes of its claims and leases."""

from __future__ import annotations

from collections.abc import Iterator

from lifemodel import guards
from lifemodel.flaws import LAPSE, NEW_TERM, NO_RETAKE, ONE_SNAPSHOT, OWN_CLAIM, STALE_TERM
from lifemodel.turn import Move, Turn
from lifemodel.world import Node


def moves(turn: Turn) -> Iterator[Move]:
    node = turn.node
    if not node.beat:
        if _beat_matters(turn):
            works = tuple(one if one.won else one._replace(old=True) for one in node.works)
            asked = node._replace(beat=("asked", node.book), works=works)
            yield "sends a heartbeat", turn.after(asked)
    elif node.beat[0] == "asked":
        yield from _renews(turn)
    elif node.beat[0] == "read":
        yield "renews", turn.after(node._replace(beat=("told", *node.beat[1:]), life=2))
    elif node.beat[0] == "over":
        yield "begins a new term", turn.after(_renamed(turn))
    else:
        yield "hears of its heartbeat", turn.after(_confirmed(turn))


def _beat_matters(turn: Turn) -> bool:
    node = turn.node
    mine = turn.row.epoch if turn.row.claimed_by == turn.number else 0
    known = {work.epoch for work in node.works}
    return (
        node.belief < 2
        or node.life < 2
        or not all(work.covered for work in node.works)
        or known != ({mine} if mine else set())
        or node.leased != bool(node.book)
    )


def _renews(turn: Turn) -> Iterator[Move]:
    node = turn.node
    if not guards.renews(same_term=node.life >= 1, leases_live=node.life >= 1):
        yield "finds its term over", turn.after(node._replace(beat=("over",)))
        return
    mine = turn.row.epoch if turn.row.claimed_by == turn.number else 0
    told = (mine, node.leased, 2, node.beat[1])
    if ONE_SNAPSHOT in turn.spoiled:
        yield "reads what it has", turn.after(node._replace(beat=("read", *told)))
    else:
        yield "renews", turn.after(node._replace(beat=("told", *told), life=2))


def _renamed(turn: Turn) -> Node:
    node = turn.node
    stale = STALE_TERM not in turn.spoiled and node.door[:1] == ("leased",)
    node = node._replace(life=2, beat=(), book=0, unknown=0, door=() if stale else node.door)
    if NEW_TERM in turn.spoiled:
        return node._replace(belief=2)
    return node._replace(works=tuple(work for work in node.works if work.won))


def _confirmed(turn: Turn) -> Node:
    node = turn.node
    _, mine, leased, worth, book_then = node.beat
    lapsed = node.belief < 2 and LAPSE not in turn.spoiled
    works = []
    for work in node.works:
        one = work._replace(covered=False) if lapsed else work
        if work.won:
            works.append(one)
        elif work.epoch == mine:
            works.append(one._replace(covered=True, old=False))
        elif not work.old:
            works.append(one)
    book = 0 if node.book and node.book == book_then and not leased else node.book
    takes = node.door[:1] == ("leased",)
    known = [work for work in works if not work.won or OWN_CLAIM not in turn.spoiled]
    return node._replace(
        works=tuple(works),
        book=book,
        dropping=node.dropping or bool(leased and not (book or takes or node.stream)),
        belief=max(node.belief, int(str(worth))),
        unknown=0 if known else int(str(mine)),
        lost=node.lost and NO_RETAKE not in turn.spoiled,
        beat=(),
    )
