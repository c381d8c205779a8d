"""Satellites at rest are looked at in turn, by one node each, and nothing is written for it."""

from __future__ import annotations

import sys
from dataclasses import replace
from itertools import chain
from uuid import UUID, uuid4

import pytest
from fleetkit.world import QUICK, World
from waiting import until

from torpor_statemachine import clock
from torpor_statemachine.postgres.pool import Database
from torpor_statemachine.store import rounds
from torpor_statemachine.store.nodes import Nodes
from torpor_statemachine.store.rounds import Rounds

CONFIG = replace(QUICK, claims_live=600.0, leases_live=600.0, reconcile=10.0)
MANY = 60


class Clock:
    now = 1000.0


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Clock:
    time = Clock()
    monkeypatch.setattr(clock, "now", lambda: time.now)
    monkeypatch.setattr(rounds, "BATCH", 7)
    return time


@pytest.fixture
async def resting(database: Database) -> set[UUID]:
    await database.execute("insert into orgs (name) values ('acme')")
    rows = await database.fetch(
        """insert into satellites (org_id, name, provisioner, arch, state, ref, state_since)
        select id, 's' || n, 'cloud', 'x86_64', 'asleep', 'm', now() - interval '1 hour'
        from orgs, generate_series(1, $1) n returning id""",
        MANY,
    )
    return {row["id"] for row in rows}


async def _node(database: Database, *provisioners: str) -> Rounds:
    node_id = uuid4()
    await Nodes(database.vital, CONFIG, node_id, provisioners).register()
    return Rounds(database, CONFIG, node_id)


async def _round(node: Rounds) -> list[UUID]:
    """What it comes to until its round is over."""
    seen: list[UUID] = []
    while batch := await node.batch("cloud"):
        assert len(batch) <= rounds.BATCH
        seen += [satellite.id for satellite in batch]
    return seen


async def test_one_node_sees_each_once_a_round(
    database: Database, resting: set[UUID], time: Clock
) -> None:
    node = await _node(database, "cloud")
    for _ in range(2):
        seen = await _round(node)
        assert sorted(seen) == sorted(resting)
        assert await node.batch("cloud") == []  # the next one is not due
        time.now += CONFIG.reconcile


async def test_nodes_that_live_divide_them(
    database: Database, resting: set[UUID], time: Clock
) -> None:
    nodes = [await _node(database, "other", "cloud") for _ in range(3)]
    await _node(database, "other")  # which has no way to their machines
    seen = [await _round(node) for node in nodes]
    assert sorted(chain.from_iterable(seen)) == sorted(resting)
    assert all(0 < len(each) < MANY for each in seen)
    await database.execute("update nodes set expires_at = now() where id = $1", nodes[0]._node_id)
    time.now += CONFIG.reconcile
    again = [await _round(node) for node in nodes]
    assert again[0] == []
    assert sorted(chain.from_iterable(again)) == sorted(resting)


async def test_a_share_that_moves_in_mid_round_is_begun_anew(
    database: Database, resting: set[UUID], time: Clock
) -> None:
    node = await _node(database, "cloud")
    seen = {satellite.id for satellite in await node.batch("cloud")}
    other = await _node(database, "cloud")
    for _ in range(2):
        seen |= {*await _round(node), *await _round(other)}
        time.now += CONFIG.reconcile
    assert seen == resting


async def test_what_has_just_changed_is_left_for_the_next_round(
    database: Database, resting: set[UUID], time: Clock
) -> None:
    node = await _node(database, "cloud")
    await database.execute("update satellites set state_since = now() + interval '1 hour'")
    assert await _round(node) == []


async def test_looking_at_resting_satellites_writes_nothing(world: World) -> None:
    fleet = await world.node()
    satellite = await world.asleep(fleet)
    version = "select xmin::text from satellites where id = $1"
    await until(lambda: not fleet._coordinator._work)
    before = await world.database.fetchval(version, satellite.id)
    await world.entered("observe", world.cloud.entered["observe"] + 3)
    assert await world.database.fetchval(version, satellite.id) == before


async def test_a_round_of_very_many_takes_longer(
    database: Database, resting: set[UUID], time: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two nodes look at 60 satellites, 4 a second at most."""
    monkeypatch.setattr(sys.modules[__name__], "CONFIG", replace(CONFIG, looks=4.0))
    nodes = [await _node(database, "cloud") for _ in range(2)]
    shares = [await _round(node) for node in nodes]
    assert {*chain(*shares)} == resting
    for node, share in zip(nodes, shares, strict=True):
        time.now += len(share) * 2 / 4.0 - 0.1
        assert await node.batch("cloud") == []
        time.now += 0.1
        assert await node.batch("cloud") != []
        time.now -= len(share) * 2 / 4.0
