"""What one node does for the whole fleet is begun by one, and again when it is due."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from torpor_statemachine.postgres.pool import Database
from torpor_statemachine.store.turns import Turns


async def test_of_many_nodes_one_has_the_turn(database_url: str) -> None:
    async with AsyncExitStack() as stack:
        nodes = [
            Turns(await stack.enter_async_context(Database(database_url, connections=2)))
            for _ in range(8)
        ]
        taken = await asyncio.gather(*(node.take("duty", 3600.0) for node in nodes * 4))
    assert len([each for each in taken if each is not None]) == 1


async def test_a_turn_comes_again_after_its_pause(database: Database) -> None:
    turns = Turns(database)
    first = await turns.take("duty", 3600.0)
    assert first is not None
    assert await turns.take("another", 3600.0) is not None
    assert await turns.take("duty", 3600.0) is None
    await database.execute("update fleet_duties set begun_at = begun_at - interval '1 hour'")
    second = await turns.take("duty", 3600.0)
    assert second is not None
    assert second >= first


async def test_a_clock_that_was_set_back_keeps_no_duty_undone(database: Database) -> None:
    turns = Turns(database)
    await turns.take("duty", 3600.0)
    await database.execute("update fleet_duties set begun_at = now() + interval '9 days'")
    assert await turns.take("duty", 3600.0) is not None
    assert await turns.take("duty", 3600.0) is None


async def test_a_node_without_a_turn_writes_nothing(database: Database) -> None:
    turns = Turns(database)
    await turns.take("duty", 3600.0)
    row = "select xmax, ctid from fleet_duties"  # xmax: also of who only locked it
    before = await database.fetchrow(row)
    await turns.take("duty", 3600.0)
    assert await database.fetchrow(row) == before
