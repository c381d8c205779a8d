"""Requests that wait are told to the database: what has changed, and nothing else."""

from __future__ import annotations

import json
from uuid import UUID, uuid4

from torpor_statemachine.postgres.pool import Database
from torpor_statemachine.store.holds import MOST, Group, Holds
from torpor_statemachine.waiting.hold_reports import HoldReporter

_NODE = """
insert into nodes (id, expires_at, leases_until)
values ($1, now() + interval '1 hour', now() + interval '1 hour')
"""


async def held(database: Database, node: UUID) -> list[list[object]] | None:
    text = await database.fetchval("select held from node_holds where node_id = $1", node)
    return json.loads(text) if text is not None else None


async def test_what_waits_is_told_when_it_changes(database: Database) -> None:
    node, one, two = uuid4(), uuid4(), uuid4()
    await database.execute(_NODE, node)
    waiting: list[Group] = []
    reporter = HoldReporter(Holds(database, node), lambda: waiting)

    async def reported() -> int:
        before = database.queries
        await reporter.report()
        return database.queries - before

    assert await reported() == 0, "nobody waits"
    waiting.append(Group(one, "token:ci", 2, 1.5))
    assert await reported() == 1
    assert await held(database, node) == [[str(one), "token:ci", 2, 1.5]]
    waiting[0] = Group(one, "token:ci", 2, 2.5)
    assert await reported() == 0, "time has passed, which everyone knows"
    waiting.append(Group(two, "user:ann/mac", 1, 0.1))
    assert await reported() == 1
    waiting.clear()
    assert await reported() == 1
    assert await held(database, node) == []
    assert await reported() == 0


async def test_a_crowd_is_bounded_and_a_node_that_is_gone_tells_nothing(database: Database) -> None:
    node = uuid4()
    holds = Holds(database, node)
    crowd = [Group(uuid4(), "token:ci", 1, 1.0)] * (MOST + 50)
    await holds.tell(crowd)
    assert await held(database, node) is None
    await database.execute(_NODE, node)
    await holds.tell(crowd)
    assert len(await held(database, node)) == MOST
