"""The protocol of several nodes around one satellite, as steps between immutable states.

A statement takes effect in one step and its answer is heard in a later one: in between, anything
may happen. Time is not counted; what it guarantees is a condition on steps instead. The database
gives a node up (`life`) only after the node has ceased to believe in itself (`belief`), and lets a
deadline pass only after the work's own time is up. A call to the cloud is begun in one step and
lands in a later one; it is assumed to land, if ever, before the database gives its node up, and
never once its node has given it up (`torpor_provisioner.contract`). A session that vanishes may
keep the satellite's row locked until Postgres ends it, and a failover may lose a lease, or all that
was committed since some moment (`failover`): who has a stream finds out before the server that
answers now is believed (`settled_server`).

What decides is the code's own where it is pure (`policy.next_step`, `policy.drift`,
`lifecycle.target`) and `guards` where it is SQL.

What is in a state is in `world`, what one node can do with it in `requests`, `heartbeats`, `duties`
and `works`, and what can befall it in `mishaps`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lifemodel import duties, failover, heartbeats, mishaps, requests, works
from lifemodel.decisions import drifted
from lifemodel.explorer import Step
from lifemodel.flaws import LATE_CALLS, NO_END
from lifemodel.turn import Move, Turn
from lifemodel.world import World


@dataclass(frozen=True)
class Protocol:
    spoiled: frozenset[str] = frozenset()

    def steps(self, world: World) -> Iterator[Step[World]]:
        for number, node in enumerate(world.nodes):
            turn = Turn(self.spoiled, world, number, node)
            for what, after in _moves(turn):
                if world.locked and not isinstance(after, str) and _writes(world, after):
                    continue
                told = f"node {number} {what}"
                if isinstance(after, str):
                    yield Step(told, None, after)
                elif broken := _broken(after):
                    yield Step(told, None, broken)
                else:
                    yield Step(told, after)
        if world.coming is not None:
            landed = world._replace(machine=world.coming, coming=None)
            broken = _broken(landed)
            yield Step("a call that was given up lands", None if broken else landed, broken)
        if world.locked and NO_END not in self.spoiled:
            yield Step("Postgres ends the session that vanished", world._replace(locked=False))
        for what, after in failover.moves(world, self.spoiled):
            broken = _broken(after)
            yield Step(what, None if broken else after, broken)
        if (late := _grow_late(world, self.spoiled)) is not None:
            yield Step("the claim's deadline passes", late)


def _moves(turn: Turn) -> Iterator[Move]:
    """What one node can do next, and what can befall it."""
    yield from mishaps.moves(turn)
    if turn.node.up:
        yield from requests.moves(turn)
        yield from heartbeats.moves(turn)
        yield from duties.moves(turn)
        yield from works.moves(turn)


def _writes(world: World, after: World) -> bool:
    """Whether the satellite's row has to be locked for it."""
    leases = [node.leased for node in world.nodes] != [node.leased for node in after.nodes]
    return world.row != after.row or leases


def _broken(world: World) -> str:
    """What must never be."""
    row = world.row
    if not world.machine:
        for node in world.nodes:
            if node.stream == 1:
                return "the machine sleeps under an open stream"
            if node.up and node.book and node.belief >= 1 and not world.astray:
                return "a request that is admitted on a lease meets a sleeping machine"
    if world.astray:
        return ""  # until somebody looks: see `failover`
    if row.claimed_by is None and not _calls(world) and drifted(row.state, world.machine):
        return f"it is {row.state} in the database, and the machine is not"
    return ""


def _calls(world: World) -> bool:
    return any(work.at == "land" for node in world.nodes for work in node.works)


def _grow_late(world: World, spoiled: frozenset[str]) -> World | None:
    row = world.row
    if row.claimed_by is None or row.late:
        return None
    for work in world.nodes[row.claimed_by].works:
        if work.epoch == row.epoch and (
            work.in_time or (work.at == "land" and LATE_CALLS not in spoiled)
        ):
            return None
    return world._replace(row=row._replace(late=True))
