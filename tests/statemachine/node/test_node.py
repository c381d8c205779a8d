"""A node's belief in itself: what it may do while it hears nothing, and what after."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from math import inf
from typing import Any
from uuid import uuid4

import pytest
from fleetkit.world import QUICK, World
from waiting import until

from torpor_statemachine import clock
from torpor_statemachine.config import FleetConfig
from torpor_statemachine.events import Unobserved
from torpor_statemachine.fleet import Fleet
from torpor_statemachine.lifecycle.states import State
from torpor_statemachine.node.heartbeat import Node
from torpor_statemachine.postgres import pool, session
from torpor_statemachine.store.nodes import NodeStatus

BUDGET = 60.0
FORGETFUL = replace(QUICK, claims_live=1.5, leases_live=2.0, safety=0.2)


class Rows:
    """The node's row, and a Postgres whose answers take `latency` seconds."""

    def __init__(self, time: Time) -> None:
        self.time = time
        self.latency = 0.0
        self.alive = True
        self.claims: dict[object, int] = {}
        self.terms = 0
        self.ahead = 500.0  # the database's clock
        self.sure: list[bool] = []

    async def register(self) -> int:
        self.terms += 1
        self.alive = True
        self.time.now += self.latency
        return self.terms

    async def renew(self, _term: int, _report: object, *, sure: bool) -> NodeStatus | None:
        self.sure.append(sure)
        asked_at, shown = self.time.now, self.time.now + self.ahead
        self.time.now += self.latency
        claims: Any = dict(self.claims)
        told = NodeStatus(frozenset(), claims, now=shown, asked_at=asked_at)
        return told if self.alive else None


class Time:
    now = 1000.0


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Iterator[Time]:
    time = Time()
    with monkeypatch.context() as patched:
        patched.setattr(clock, "now", lambda: time.now)
        yield time


def _node(rows: Rows, said: list[str]) -> Node:
    return Node(
        uuid4(),
        rows,  # type: ignore[arg-type]
        QUICK,
        Unobserved(),
        confirmed=lambda *_: said.append("confirmed"),
        renamed=lambda: said.append("renamed"),
        set_forth=lambda: said.append("set forth"),
    )


async def test_belief_ends_early_and_counts_from_the_question(time: Time) -> None:
    said: list[str] = []
    rows = Rows(time)
    node = _node(rows, said)
    rows.latency = 1.0
    await node.register()
    sure = QUICK.claims_live - QUICK.safety
    time.now += sure - 1.0 - 0.01
    assert node.acts_for(1001.0) > 0
    time.now += 0.02
    assert node.acts_for(1001.0) <= 0
    assert node.leases_hold()
    time.now = 1000.0 + QUICK.leases_live - QUICK.safety + 0.01
    assert not node.leases_hold()


async def test_belief_that_lapsed_covers_only_younger_claims(time: Time) -> None:
    said: list[str] = []
    rows = Rows(time)
    node = _node(rows, said)
    await node.register()
    claimed_at = time.now
    time.now += QUICK.claims_live
    await node.beat()
    assert node.acts_for(claimed_at) <= 0
    assert node.acts_for(time.now) > 0


async def test_a_claim_made_while_a_late_answer_was_on_its_way_waits_to_be_confirmed(
    time: Time,
) -> None:
    """The renewal may have taken effect after another node took that claim over."""
    said: list[str] = []
    rows = Rows(time)
    node = _node(rows, said)
    await node.register()
    time.now += QUICK.claims_live - QUICK.safety - 0.1
    claimed_at = time.now + 0.05
    rows.latency = 0.2
    await node.beat()
    assert node.acts_for(claimed_at) <= 0
    rows.latency = 0.0
    await node.beat()
    assert node.acts_for(time.now) > 0


async def test_unbroken_belief_covers_what_it_covered(time: Time) -> None:
    said: list[str] = []
    rows = Rows(time)
    node = _node(rows, said)
    await node.register()
    claimed_at = time.now
    for _ in range(10):
        time.now += (QUICK.claims_live - QUICK.safety) * 0.9
        await node.beat()
        assert node.acts_for(claimed_at) > 0


async def test_a_clock_that_was_set_forth_judges_nobody_until_the_living_have_beaten(
    time: Time,
) -> None:
    said: list[str] = []
    rows = Rows(time)
    node = _node(rows, said)
    assert node.latest() == inf
    await node.register()
    await node.beat()
    time.now += 0.3
    assert time.now + rows.ahead < node.latest() < time.now + rows.ahead + QUICK.claims_live / 2
    rows.ahead += 3600
    assert time.now + rows.ahead > node.latest()  # who has not found out yet judges nobody, too
    await node.beat()
    assert "set forth" in said
    assert node.latest() == -inf
    time.now += QUICK.heartbeat * 1.25
    assert node.latest() == -inf
    time.now += QUICK.safety
    assert time.now + rows.ahead < node.latest() < inf


async def test_a_slow_answer_is_no_clock_that_was_set(time: Time) -> None:
    said: list[str] = []
    rows = Rows(time)
    node = _node(rows, said)
    await node.register()
    for rows.latency in (0.0, 1.9, 0.0):
        await node.beat()
        assert node.latest() < time.now + rows.ahead + QUICK.claims_live / 2
    assert "set forth" not in said


async def test_a_step_that_a_slow_answer_hid_is_found_by_the_next(time: Time) -> None:
    said: list[str] = []
    rows = Rows(time)
    node = _node(rows, said)
    await node.register()
    await node.beat()
    rows.ahead += 1.5
    rows.latency = 1.9
    await node.beat()
    assert "set forth" not in said
    assert time.now + rows.ahead > node.latest()
    rows.latency = 0.0
    await node.beat()
    assert "set forth" in said


async def test_a_clock_that_was_set_back_is_followed(time: Time) -> None:
    said: list[str] = []
    rows = Rows(time)
    node = _node(rows, said)
    await node.register()
    await node.beat()
    rows.ahead -= 3600
    await node.beat()
    assert "set forth" not in said
    assert time.now + rows.ahead < node.latest() < time.now + rows.ahead + QUICK.claims_live / 2


async def test_a_term_lasts_for_as_long_as_the_nodes_own_clock_says(time: Time) -> None:
    said: list[str] = []
    rows = Rows(time)
    node = _node(rows, said)
    await node.register()
    await node.beat()
    time.now += QUICK.leases_live
    await node.beat()
    assert rows.sure == [True, False]


async def test_a_new_term_is_told_of_before_anything_is_believed(time: Time) -> None:
    said: list[str] = []
    rows = Rows(time)
    node = _node(rows, said)
    await node.register()
    rows.alive = False
    time.now += QUICK.leases_live
    await node.beat()
    assert said == ["renamed", "confirmed"]
    assert node.term == 2


def test_a_heartbeat_is_given_up_while_the_last_one_counts() -> None:
    """On a connection that died silently: else one such would end the belief in every claim."""
    config = FleetConfig()
    given_up = config.heartbeat * 1.25 + pool.VITAL + session.MARGIN
    assert given_up + 0.5 < config.claims_live - config.safety


# --- A node that stands still, as under SIGSTOP, over the real database


async def test_a_paused_node_makes_no_further_call_and_changes_nothing(world: World) -> None:
    paused, other = await world.apart(FORGETFUL), await world.node()
    satellite = await world.asleep(other)
    gate = world.cloud.hold("observe")  # it looks, and would then call again
    world.cloud.fail("wake", OSError("no effect"))
    await paused.do(lambda: paused.fleet.wake(satellite.id, actor="x"))
    await world.entered("wake")
    await world.entered("observe")
    await paused.pause()
    await until(lambda: _term_is_over(world, paused.fleet))
    calls = world.cloud.entered["wake"]
    gate.set()
    running = await world.reaches(other, satellite.id, State.RUNNING)
    assert world.cloud.entered["wake"] == calls + 1
    paused.resume()
    await until(lambda: not paused.fleet._coordinator._work)
    await paused.do(paused.fleet._node.next_beat)
    assert world.cloud.entered["wake"] == calls + 1
    assert (await world.now(other)).epoch == running.epoch
    assert (await world.events(other, satellite.id))[-3:] == ["wake", "took_over", "woke"]


async def _term_is_over(world: World, fleet: Fleet) -> bool:
    row = await world.database.fetchrow(
        "select leases_until > now() as alive from nodes where id = $1", fleet.node_id
    )
    return row is None or not row["alive"]


async def test_a_paused_node_admits_nobody_on_what_it_held(world: World) -> None:
    paused, other = await world.apart(FORGETFUL), await world.node()
    satellite = await world.launched(other)
    await paused.do(lambda: paused.fleet.admit(satellite.id, actor="x", budget=BUDGET))
    await paused.pause()
    await until(lambda: _term_is_over(world, paused.fleet))
    await until(lambda: _unleased(world))
    await other.sleep(satellite.id, actor="x")
    await world.reaches(other, satellite.id, State.ASLEEP)
    entered = asyncio.create_task(paused.do(lambda: _enters(paused.fleet, satellite.id)))
    await asyncio.sleep(0)
    paused.resume()
    assert await entered is None


async def _enters(fleet: Fleet, satellite_id: object) -> object:
    return fleet.enter(satellite_id)  # type: ignore[arg-type]


async def _unleased(world: World) -> bool:
    return await world.database.fetchval("select not exists (select from leases)")


async def test_a_node_paused_for_long_lives_on_in_a_new_term(world: World) -> None:
    paused, other = await world.apart(FORGETFUL), await world.node()
    satellite = await world.launched(other)
    await paused.do(lambda: paused.fleet.admit(satellite.id, actor="x", budget=BUDGET))
    term = paused.fleet._node.term
    await paused.pause()
    await until(lambda: _unleased(world))  # swept
    paused.resume()
    await until(lambda: paused.fleet._node.term > term)
    await until(lambda: _leased(world, paused.fleet))  # its stream is still open: taken anew
    await paused.do(lambda: _left(paused.fleet, satellite.id))
    await until(lambda: _unleased(world))  # given up with the last stream


async def _leased(world: World, fleet: Fleet) -> bool:
    return await world.database.fetchval(
        "select exists (select from leases where node_id = $1)", fleet.node_id
    )


async def _left(fleet: Fleet, satellite_id: object) -> None:
    fleet.leave(satellite_id)  # type: ignore[arg-type]


# --- Its row


async def test_every_start_is_another_node(world: World) -> None:
    nodes = [await world.node() for _ in range(3)]
    assert len({node.node_id for node in nodes}) == 3
    assert all(node.node_id.version == 4 for node in nodes)


async def test_dead_nodes_are_swept_with_their_leases(world: World) -> None:
    dying, other = await world.node(FORGETFUL), await world.node(FORGETFUL)
    satellite = await world.launched(other)
    await dying.admit(satellite.id, actor="x", budget=BUDGET)
    await world.kill(dying)
    assert (await world.now(other)).idle_since is None
    await until(lambda: _forgotten(world, dying))
    await until(lambda: _idle(world, other))


async def _forgotten(world: World, fleet: Fleet) -> bool:
    return await world.database.fetchval(
        "select not exists (select from nodes where id = $1)", fleet.node_id
    )


async def _idle(world: World, fleet: Fleet) -> bool:
    return (await world.now(fleet)).idle_since is not None


async def test_an_unforeseen_error_does_not_end_the_heart(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = await world.node()
    renew = fleet._nodes.renew
    failed = asyncio.Event()

    async def broken(*_: object, **_more: object) -> NodeStatus | None:
        monkeypatch.setattr(fleet._nodes, "renew", renew)
        failed.set()
        raise RuntimeError("a fault")

    monkeypatch.setattr(fleet._nodes, "renew", broken)
    await failed.wait()
    await fleet._node.next_beat()


def test_times_in_which_nothing_could_be_believed() -> None:
    with pytest.raises(ValueError, match="each must outlast"):
        replace(QUICK, claims_live=0.5, safety=0.5)
