"""The queries that run often must use an index, however many satellites there are.

The plan is asked for, not the time: on a table of many rows, with statistics, and with the values
that the code gives.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from math import inf
from typing import Any
from uuid import UUID, uuid4

import pytest
from fleetkit.databases import transaction

from torpor_statemachine.postgres.pool import Database
from torpor_statemachine.store import duties, idle, leases, nodes, queries, rounds

MANY = 12_000

# Of all satellites one in a hundred is idle or under a claim, and next to none is wanted
_FILL = """
insert into orgs (id, name)
select gen_random_uuid(), 'org-' || n from generate_series(1, 50) n;

insert into nodes (id, expires_at, leases_until)
select gen_random_uuid(), now() + interval '1 hour', now() + interval '1 hour'
from generate_series(1, 8) n;

insert into satellites (org_id, name, provisioner, arch, state, epoch, ref, host, port,
    idle_since, sleep_due, claimed_by, claim_deadline, sleep_kind, checked_at, state_since)
select orgs_.id, 'satellite-' || n, 'cloud', 'x86_64',
    case when n % 100 = 1 then 'waking' when n % 2 = 0 then 'running' else 'asleep' end,
    n, 'm-' || n, 'cloud', 1,
    case when n % 100 = 2 then now() - interval '2 hours' end,
    case when n % 100 = 2 then now() - interval '1 hour'
         when n % 2 = 0 then null end,
    case when n % 100 = 1 then nodes_.id end,
    case when n % 100 = 1 then now() + interval '1 hour' end,
    case when n % 2 = 1 then 'stopped' end,
    now() - case when n % 100 = 3 then interval '1 hour' else interval '1 second' end,
    now() - interval '1 day'
from generate_series(1, {many}) n
join (select id, row_number() over () as k from orgs) orgs_ on orgs_.k = n % 50 + 1
join (select id, row_number() over () as k from nodes) nodes_ on nodes_.k = n % 8 + 1;

insert into leases (satellite_id, node_id)
select s.id, nodes_.id from (
    select id, row_number() over () as k from satellites
    where state = 'running' and idle_since is null
) s join (select id, row_number() over () as k from nodes) nodes_ on nodes_.k = s.k % 8 + 1;

insert into transitions (satellite_id, epoch, event, source, target)
select id, 1, 'woke', 'waking', 'running' from satellites cross join generate_series(1, 2);

analyze;
"""


@pytest.fixture
async def full(database: Database) -> Database:
    await database.execute("alter table transitions disable trigger transitions_told")
    await database.execute(_FILL.replace("{many}", str(MANY)))
    return database


def _nodes_of(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes_of(child)


async def _plan(database: Database, sql: str, *values: object) -> list[dict[str, Any]]:
    async with transaction(database) as connection:
        told = await connection.fetchval(f"explain (format json) {sql}", *values)
        return list(_nodes_of(json.loads(told)[0]["Plan"]))


def _uses(plan: list[dict[str, Any]], index: str) -> bool:
    return any(node.get("Index Name") == index for node in plan)


def _reads_all_of(plan: list[dict[str, Any]], table: str) -> bool:
    return any(
        node["Node Type"] == "Seq Scan" and node.get("Relation Name") == table for node in plan
    )


async def _reaps_the_idle_ones_only(full: Database) -> None:
    """Shown by what it touches: the buffers do not grow with those that are not idle."""
    sql = f"explain (analyze, buffers, format json) {idle._DUE}"
    told = json.loads(await full.fetchval(sql, ["cloud"], 100))[0]["Plan"]
    scans = [node for node in _nodes_of(told) if node.get("Index Name") == "satellites_sleep_due"]
    assert sum(node["Actual Rows"] for node in scans) <= MANY / 100
    assert all(node.get("Rows Removed by Filter", 0) == 0 for node in scans)


async def test_no_frequent_query_reads_every_satellite(full: Database) -> None:
    """One database for all: filling it is what takes time."""
    some = await full.fetchrow("select id, org_id, name from satellites limit 1")
    assert some is not None
    node: UUID = await full.fetchval("select id from nodes limit 1")
    half = UUID(int=1 << 127)
    second, cloud = timedelta(seconds=15), ["cloud"]
    asked: list[tuple[str, str, tuple[object, ...]]] = [
        ("satellites_sleep_due", idle._DUE, (cloud, 50)),
        ("satellites_claimed", duties._UNDONE, (second, cloud, 500, second, second, True, inf)),
        ("satellites_wanted", duties._WANTED, (cloud, 500)),
        ("satellites_wanted", duties._SOMETHING, (second,)),
        ("satellites_unchanged", duties._SOMETHING, (second,)),
        ("satellites_resting", rounds._RESTING, ("cloud", UUID(int=0), half, second, 200)),
        ("satellites_name", queries._BY_NAME, (some["org_id"], some["name"])),
        ("satellites_name", queries._OF_ORG, (some["org_id"],)),
        ("satellites_pkey", queries._BY_ID, (some["id"],)),
        ("satellites_pkey", leases._TAKE, (some["id"], node, 1)),
        ("satellites_pkey", leases._DROP, ([some["id"]], node, second)),
        ("satellites_sleep_due", leases._SETTLE, (second,)),
        ("satellites_claimed", nodes._STANDING, (node,)),
        ("leases_node", nodes._STANDING, (node,)),
        ("satellites_claimed", nodes._LEAVE, (node,)),
        ("leases_node", nodes._BURY, ([node],)),
        ("transitions_satellite", queries._HISTORY, (some["id"], 50)),
    ]
    for index, sql, values in asked:
        plan = await _plan(full, sql, *values)
        assert _uses(plan, index), f"{index}: {plan}"
        assert not _reads_all_of(plan, "satellites"), sql
    await _reaps_the_idle_ones_only(full)


async def test_an_unknown_node_holds_nothing(database: Database) -> None:
    row = await database.fetchrow(nodes._STANDING, uuid4())
    assert row is not None
    assert (row["leases"], row["claims"]) == ([], [])
