"""Whose streams keep satellites awake: reported by the nodes, read by people."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from torpor_statemachine.config import FleetConfig
from torpor_statemachine.lifecycle.keeping import Keeper, Streams
from torpor_statemachine.postgres.pool import Database, Record

# It waits for nobody: a lease that is locked is being given up, or has its turn with the next beat
_REPORT = """
with news as (
    select * from unnest($2::uuid[], $3::jsonb[]) as each (satellite_id, streams)
), mine as materialized (
    select satellite_id from leases where node_id = $1 and satellite_id = any($2::uuid[])
    for no key update skip locked
)
update leases set streams = news.streams, reported_at = now()
from news join mine using (satellite_id)
where leases.node_id = $1 and leases.satellite_id = news.satellite_id
returning leases.satellite_id
"""
_COLUMNS = """
    leases.satellite_id, leases.node_id, leases.streams, leases.reported_at, nodes.leases_until,
    extract(epoch from now() - nodes.expires_at)::float8 as overdue,
    extract(epoch from nodes.leases_until - now())::float8 as left
"""
# A lease counts until its node's end is told, by itself or by another, or its time is over
_OF_ONE = f"""
select {_COLUMNS} from leases join nodes on nodes.id = leases.node_id
where leases.satellite_id = $1 order by leases.taken_at, leases.node_id
"""
_OF_ORG = f"""
select {_COLUMNS} from satellites
join leases on leases.satellite_id = satellites.id join nodes on nodes.id = leases.node_id
where satellites.org_id = $1 and satellites.state = 'running'
order by leases.taken_at, leases.node_id
"""


class Group(NamedTuple):
    """Streams of one caller and method; the oldest is `age` seconds old."""

    caller: str
    method: str
    peer: str
    number: int
    age: float


@dataclass(frozen=True, slots=True)
class Report:
    """What one node reports of one satellite: `count` streams, some of them `by` caller."""

    satellite_id: UUID
    count: int
    by: Sequence[Group]


class Keeping:
    """What node `node_id` reports, and what all have reported."""

    def __init__(self, database: Database, config: FleetConfig, node_id: UUID) -> None:
        self._database = database
        self._claims_live = timedelta(seconds=config.claims_live)
        self._node_id = node_id

    async def report(self, those: Sequence[Report]) -> set[UUID]:
        """The satellites it was written down for; of the others no lease was to be had."""
        written = await self._database.fetch(
            _REPORT,
            self._node_id,
            [each.satellite_id for each in those],
            [json.dumps({"count": each.count, "by": each.by}) for each in those],
        )
        return {row["satellite_id"] for row in written}

    async def of(self, satellite_id: UUID) -> list[Keeper]:
        """The leases on a satellite, the oldest first."""
        return [self._keeper(row) for row in await self._database.fetch(_OF_ONE, satellite_id)]

    async def of_org(self, org_id: UUID) -> Mapping[UUID, list[Keeper]]:
        """The same of all satellites of an org that run."""
        found: defaultdict[UUID, list[Keeper]] = defaultdict(list)
        for row in await self._database.fetch(_OF_ORG, org_id):
            found[row["satellite_id"]].append(self._keeper(row))
        return found

    def _keeper(self, row: Record) -> Keeper:
        report = json.loads(row["streams"]) if row["streams"] is not None else None
        overdue = timedelta(seconds=row["overdue"])
        return Keeper(
            node_id=row["node_id"],
            count=report["count"] if report else None,
            streams=_streams(row, report["by"]) if report else (),
            reported_at=row["reported_at"],
            # it was last heard of when its claims were given that long to live
            silent_for=overdue + self._claims_live if overdue > timedelta() else timedelta(),
            until=row["leases_until"],
            left=timedelta(seconds=max(0.0, row["left"])),
        )


def _streams(row: Record, by: Sequence[Sequence[object]]) -> tuple[Streams, ...]:
    return tuple(
        Streams(each.caller, each.method, each.peer, each.number, row["reported_at"] - age)
        for each in (Group(*fields) for fields in by)  # type: ignore[arg-type]  # as `report` wrote it
        for age in (timedelta(seconds=each.age),)
    )
