"""Satellites are counted by one node, for all that are asked about them."""

from __future__ import annotations

import asyncio

import pytest
from fleetkit.world import World

from torpor_statemachine.store import census
from torpor_statemachine.store.census import Counting

_MADE = """
insert into satellites (org_id, name, provisioner, arch, state)
select $1, 's' || n, 'cloud', 'x86_64', $3 from generate_series(1, $2) n
"""


async def test_many_nodes_count_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.database.execute(_MADE, world.org_id, 3, "asleep")
    first = await Counting(world.database).counts()
    assert (first.states["asleep"], first.states["running"], first.strays) == (3, 0, {})
    await world.database.execute(_MADE.replace("'s'", "'t'"), world.org_id, 2, "failed")
    counted_at = "select counted_at from fleet_census"
    before = await world.database.fetchval(counted_at)
    nodes = [Counting(world.database) for _ in range(9)]
    kept = await asyncio.gather(*(node.counts() for node in nodes))
    assert [each.states for each in kept] == [first.states] * 9
    assert await world.database.fetchval(counted_at) == before
    # it grows old, and the node that comes first counts anew
    await world.database.execute("update fleet_census set counted_at = now() - interval '1 hour'")
    anew = await asyncio.gather(*(node.counts() for node in nodes))
    assert {each.states["failed"] for each in anew} <= {0, 2}
    assert (await nodes[0].counts()).states["failed"] == 2
    assert census.AGE < 60


async def test_a_count_of_the_future_is_none(world: World) -> None:
    """The database's clock was set back."""
    counting = Counting(world.database)
    await counting.counts()
    await world.database.execute(_MADE, world.org_id, 3, "asleep")
    await world.database.execute("update fleet_census set counted_at = now() + interval '9 days'")
    assert (await counting.counts()).states["asleep"] == 3
