"""What each satellite was on each day (UTC), those that are gone included.

Closed spans are counted by the database itself in the transaction that ends them (`count_state`, in
migrations/); the state that a satellite is in now is added when it is read. Streams and holds are
told by the nodes, in numbered parts: each counts once, however often it is told.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from uuid import UUID

from torpor_statemachine.lifecycle.states import State, WakeKind
from torpor_statemachine.postgres.pool import Database, Record

# A part that was told before changes nothing. In the order of ids, or two nodes could wait for each
# other's rows.
_ADD = """
with fresh as (
    update nodes set counted = $2 where id = $1 and counted < $2 returning id
), added as (
    insert into satellite_hours as known (satellite_id, hour, streams, held)
    select told.id, date_trunc('hour', now(), 'UTC'), told.streams, told.held
    from unnest($3::uuid[], $4::bigint[], $5::float8[]) as told (id, streams, held)
    where exists (select from fresh)
    order by told.id
    on conflict (satellite_id, hour) do update set
        streams = known.streams + excluded.streams, held = known.held + excluded.held
)
select exists (select from nodes where id = $1)
"""
_NOBODY = "'00000000-0000-0000-0000-000000000000'::uuid"
_SUMS = """
        sum(launching) as launching, sum(running) as running, sum(sleeping) as sleeping,
        sum(asleep) as asleep, sum(waking) as waking, sum(updating) as updating,
        sum(failed) as failed, sum(terminating) as terminating,
        sum(resumed)::bigint as resumed, sum(started)::bigint as started,
        sum(launched)::bigint as launched, sum(streams)::bigint as streams, sum(held) as held
"""
_SPANS = f"""
with spans as (
    select satellite_id, day, org_id, name, provisioner, size, labels,
        launching, running, sleeping, asleep, waking, updating, failed, terminating,
        resumed, started, launched, 0::bigint as streams, 0::float8 as held
    from satellite_days where day between $1 and $2
    union all
    select s.id, passed.day, s.org_id, s.name, s.provisioner, s.size, s.labels,
        case s.state when 'launching' then passed.seconds else 0 end,
        case s.state when 'running' then passed.seconds else 0 end,
        case s.state when 'sleeping' then passed.seconds else 0 end,
        case s.state when 'asleep' then passed.seconds else 0 end,
        case s.state when 'waking' then passed.seconds else 0 end,
        case s.state when 'updating' then passed.seconds else 0 end,
        case s.state when 'failed' then passed.seconds else 0 end,
        case s.state when 'terminating' then passed.seconds else 0 end,
        0, 0, 0, 0, 0
    from satellites s, days_of(
        greatest(s.state_since, $1::date::timestamp at time zone 'UTC'),
        least(now(), ($2::date + 1)::timestamp at time zone 'UTC')) as passed
    where s.state <> 'terminated'
    union all
    select satellite_id, (hour at time zone 'UTC')::date, owner.org_id, owner.name,
        owner.provisioner, owner.size, owner.labels,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, streams, held
    from satellite_hours cross join lateral (
        select org_id, name, provisioner, size, labels from satellites where id = satellite_id
        union all
        (select org_id, name, provisioner, size, labels from satellite_days known
            where known.satellite_id = satellite_hours.satellite_id
            order by day desc)
        limit 1
    ) as owner
    where hour >= $1::date::timestamp at time zone 'UTC'
        and hour < ($2::date + 1)::timestamp at time zone 'UTC'
), days as (
    select satellite_id, day, org_id, name, provisioner, size, labels,
        {_SUMS}
    from spans group by satellite_id, day, org_id, name, provisioner, size, labels
)
"""
_DAYS = f"""{_SPANS}
select days.*, coalesce(orgs.name, '') as org from days left join orgs on orgs.id = org_id
where $3::text is null or orgs.name = $3
order by day, org, days.name, satellite_id, provisioner, size, labels
"""
# Few rows, whatever there were satellites: for metrics
_TOTALS = f"""{_SPANS}
, groups as (
    select org_id, provisioner, size, case when $3 then labels else '{{}}' end as labels,
        {_SUMS}
    from days group by 1, 2, 3, 4
)
select groups.*, coalesce(orgs.name, '') as org, '' as name, $1::date as day,
    {_NOBODY} as satellite_id
from groups left join orgs on orgs.id = org_id
"""
# The same without the names of satellites, so that a large fleet is few rows
_BY_DAY = f"""
select {_NOBODY} as satellite_id, day, {_NOBODY} as org_id, '' as name, provisioner, size,
    '{{}}'::jsonb as labels,
    {_SUMS}, '' as org
from ({_DAYS}) as each
where $4::text[] is null or name = any($4)
group by day, provisioner, size order by day, provisioner, size
"""
_OF_ORG = f"""{_SPANS}
select provisioner, size,
    sum(launching + running + sleeping + waking + updating + terminating) as awake,
    sum(asleep + failed) as off
from days where org_id = $3 group by provisioner, size order by provisioner, size
"""
_STATES = tuple(state for state in State if state is not State.TERMINATED)
_KINDS = (WakeKind.RESUMED, WakeKind.STARTED, WakeKind.LAUNCHED)


@dataclass(frozen=True, slots=True)
class Day:
    """One satellite on one day, or on what has passed of it, with one size of machine, and the
    `labels` that it had when the state was counted, or has now.

    `seconds` in each state, `wakes` of each kind, `streams` that began (by when they were told
    of, some seconds later), `held`: seconds for which its requests were held, all together. `org`
    is empty where the org is gone.
    """

    satellite_id: UUID
    day: date
    org_id: UUID
    org: str
    name: str
    seconds: Mapping[State, float]
    wakes: Mapping[WakeKind, int]
    streams: int
    held: float
    provisioner: str
    size: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Total:
    """Seconds of all of an org's machines of one size: on, and off (asleep or failed)."""

    provisioner: str
    size: str
    awake: float
    off: float


@dataclass(frozen=True, slots=True)
class Seen:
    """What a node has seen of one satellite."""

    streams: int
    held: float


class Usage:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, node_id: UUID, part: int, traffic: Mapping[UUID, Seen]) -> bool:
        """Add what a node has seen; `part` counts up from 1. False: the node has no row, and the
        part is to be told again when it has."""
        added: bool = await self._database.fetchval(
            _ADD,
            node_id,
            part,
            list(traffic),
            [each.streams for each in traffic.values()],
            [each.held for each in traffic.values()],
        )
        return added

    async def days(self, first: date, last: date, org: str | None = None) -> list[Day]:
        """Every satellite that there was from `first` to `last`, a row for each day, size and
        labels; of one org, or of all."""
        return [_day(row) for row in await self._database.fetch(_DAYS, first, last, org)]

    async def totals(self, first: date, last: date, *, by_label: bool) -> list[Day]:
        """All of `days`, added up by org, size and, if wanted, labels: those have no name, and
        `first` for their day."""
        rows = await self._database.fetch(_TOTALS, first, last, by_label)
        return [_day(row) for row in rows]

    async def by_day(
        self, first: date, last: date, org: str | None, names: Sequence[str] | None = None
    ) -> list[Day]:
        """All of `days`, or those of the `names`, added up: a row for each day and size."""
        found = await self._database.fetch(_BY_DAY, first, last, org, names)
        return [_day(row) for row in found]

    async def of_org(self, first: date, last: date, org_id: UUID) -> list[Total]:
        """The same days of one org, added up by the database."""
        return [Total(**row) for row in await self._database.fetch(_OF_ORG, first, last, org_id)]


def _day(row: Record) -> Day:
    return Day(
        satellite_id=row["satellite_id"],
        day=row["day"],
        org_id=row["org_id"],
        org=row["org"],
        name=row["name"],
        seconds={state: row[state.value] for state in _STATES},
        wakes={kind: row[kind.value] for kind in _KINDS},
        streams=row["streams"],
        held=row["held"],
        provisioner=row["provisioner"],
        size=row["size"],
        labels=json.loads(row["labels"]),
    )
