"""The fleet as people look at it: a part of it at a time, with what each satellite did lately.

Whoever looks has a `Scope`. Every statement here is bounded, however large the fleet is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from torpor_statemachine.lifecycle.states import State
from torpor_statemachine.postgres.pool import Database, Record

PAGE = 48  # satellites at once
STEPS = 60  # of a satellite's last day
NEWS = 100  # satellites that are told of in one look
WAITING = 50  # satellites that requests wait for
CALLERS = 3  # of a satellite's streams that are named

_IN_SCOPE = """
    satellites.state <> 'terminated'
    and ($1::uuid is null or satellites.org_id = $1)
    and ($2::text[] is null or satellites.name = any($2))
"""
# Of `s`, joined with `orgs`
_SEEN = f"""
    s.id, s.org_id, orgs.name as org, s.name, s.state, s.state_since, s.sleep_kind, s.wake_kind,
    s.idle_since, s.sleep_after, s.usual_wake, s.labels, s.provisioner, s.size, s.failure,
    case when s.claimed_by is not null then s.obstacle end as obstacle,
    (select coalesce(sum((leases.streams ->> 'count')::int), 0)
       from leases join nodes on nodes.id = leases.node_id
      where leases.satellite_id = s.id and nodes.leases_until > now()) as streams,
    array(select distinct streaming.by ->> 0
       from leases join nodes on nodes.id = leases.node_id
            cross join jsonb_array_elements(leases.streams -> 'by') as streaming (by)
      where leases.satellite_id = s.id and nodes.leases_until > now()
      order by 1 limit {CALLERS}) as callers,
    (select jsonb_agg(jsonb_build_array(
            extract(epoch from step.at), step.source, step.target, step.actor) order by step.id)
       from (select * from transitions where satellite_id = s.id and at > now() - interval '1 day'
             order by id desc limit {STEPS}) as step) as steps
"""
_HOLDS = f"""
    (select jsonb_agg(each order by each.since) from (
        select satellites.id, satellites.org_id, orgs.name as org, satellites.name,
               held.by ->> 1 as caller, sum((held.by ->> 2)::int) as requests,
               min(extract(epoch from told_at) - (held.by ->> 3)::float8) as since,
               extract(epoch from satellites.usual_wake) as usual, satellites.state
          from node_holds join nodes on nodes.id = node_holds.node_id and nodes.expires_at > now()
               cross join jsonb_array_elements(node_holds.held) as held (by)
               join satellites on satellites.id = (held.by ->> 0)::uuid
               join orgs on orgs.id = satellites.org_id
         where {_IN_SCOPE}
         group by satellites.id, orgs.name, caller
         order by since limit {WAITING}) as each) as holds
"""
_PAGE = f"""
with scope as materialized (
    select satellites.id, orgs.name as org, satellites.name, satellites.state
      from satellites join orgs on orgs.id = satellites.org_id
     where {_IN_SCOPE}
       and strpos(orgs.name || '/' || satellites.name, $3) > 0
       and ($4::text is null
            or satellites.labels ->> $4 = coalesce($5::text, satellites.labels ->> $4))
), counts as (
    select coalesce(jsonb_object_agg(state, number), '{{}}') as states
      from (select state, count(*) as number from scope group by state) as each
), picked as (
    select id from scope
     where ($6::text is null or state = $6)
       and ($7::text is null or (org, name) > ($7, $8::text))
     order by org, name limit {PAGE + 1}
)
select now() as seen_at, counts.states, {_HOLDS}, page.*
  from counts left join lateral (
       select {_SEEN} from picked join satellites s using (id) join orgs on orgs.id = s.org_id
  ) as page on true
 order by page.org, page.name
"""
# A step that was written before others and committed after them is younger than a few seconds.
_NEWS = f"""
with since as materialized (
    select coalesce($3::timestamptz, now() - interval '5 seconds') as at
), stepped as materialized (
    select distinct satellite_id as id from transitions where at > (select at from since)
), news as (
    select id from stepped
    union select satellite_id from leases
           where coalesce(reported_at, taken_at) > (select at from since)
    union select id from satellites
           where state = 'running' and idle_since > (select at from since)
    limit {NEWS}
)
select now() as seen_at,
       case when exists (select from stepped) then (
           select jsonb_agg(jsonb_build_array(org_id, state, number)) from (
               select org_id, state, count(*) as number from satellites
                where {_IN_SCOPE} group by org_id, state) as each) end as states,
       {_HOLDS}, page.*
  from (select) as one left join lateral (
       select {_SEEN} from news join satellites s using (id) join orgs on orgs.id = s.org_id
  ) as page on true
"""
_ORG = "select id from orgs where name = $1"


@dataclass(frozen=True, slots=True)
class Scope:
    """What may be looked at: one org's or all satellites, or those of its `names` alone."""

    org_id: UUID | None = None
    names: frozenset[str] | None = None

    def covers(self, org_id: UUID, name: str) -> bool:
        return self.org_id in (None, org_id) and (self.names is None or name in self.names)


EVERYTHING = Scope()


@dataclass(frozen=True, slots=True)
class Filter:
    """`text` is part of ORG/NAME; `label` a key, and `value` that of it, or None for any."""

    text: str = ""
    state: State | None = None
    label: str | None = None
    value: str | None = None
    after: tuple[str, str] | None = None  # the org and name that come before


@dataclass(frozen=True, slots=True)
class Step:
    """A change of state."""

    at: datetime
    source: State
    target: State
    actor: str


@dataclass(frozen=True, slots=True)
class Seen:
    """A satellite. `steps` are those of its last day, or the last `STEPS` of them, oldest first."""

    id: UUID
    org_id: UUID
    org: str
    name: str
    state: State
    state_since: datetime
    sleep_kind: str | None
    wake_kind: str | None
    idle_since: datetime | None
    sleep_after: timedelta
    usual_wake: timedelta | None
    labels: Mapping[str, str]
    provisioner: str
    size: str
    failure: str | None
    obstacle: str | None
    streams: int
    callers: Sequence[str]
    steps: Sequence[Step]


@dataclass(frozen=True, slots=True)
class Waiting:
    """Requests that wait for a satellite, the first `since`; its wakes take `usual` seconds."""

    id: UUID
    org_id: UUID
    org: str
    name: str
    state: State
    caller: str
    requests: int
    since: datetime
    usual: float | None


@dataclass(frozen=True, slots=True)
class Board:
    """A page of the fleet. `counts` are of all that the filter's other parts let through."""

    seen_at: datetime
    counts: Mapping[State, int]
    waiting: Sequence[Waiting]
    satellites: Sequence[Seen]
    more: bool


@dataclass(frozen=True, slots=True)
class News:
    """What has changed of the whole fleet. `counts` by org; None where no state has changed."""

    seen_at: datetime
    counts: Mapping[UUID, Mapping[State, int]] | None
    waiting: Sequence[Waiting]
    satellites: Sequence[Seen]
    full: bool  # there may be more


class Overview:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, scope: Scope, only: Filter) -> Board:
        found = await self._database.fetch(
            _PAGE,
            scope.org_id,
            _names(scope),
            only.text,
            only.label,
            only.value,
            only.state.value if only.state is not None else None,
            *(only.after or (None, None)),
        )
        satellites = [_seen(row) for row in found if row["id"] is not None]
        return Board(
            found[0]["seen_at"],
            {State(state): number for state, number in json.loads(found[0]["states"]).items()},
            _waiting(found[0]),
            satellites[:PAGE],
            len(satellites) > PAGE,
        )

    async def org_id(self, name: str) -> UUID | None:
        found: UUID | None = await self._database.fetchval(_ORG, name)
        return found

    async def news(self, since: datetime | None) -> News:
        """What has changed after `since`, or in the last seconds, of every org."""
        found = await self._database.fetch(_NEWS, None, None, since)
        satellites = [_seen(row) for row in found if row["id"] is not None]
        return News(
            found[0]["seen_at"],
            _by_org(found[0]["states"]) if found[0]["states"] is not None else None,
            _waiting(found[0]),
            satellites,
            len(satellites) >= NEWS,
        )


def _names(scope: Scope) -> list[str] | None:
    return sorted(scope.names) if scope.names is not None else None


def _by_org(text: str) -> Mapping[UUID, Mapping[State, int]]:
    found: dict[UUID, dict[State, int]] = {}
    for org_id, state, number in json.loads(text):
        found.setdefault(UUID(org_id), {})[State(state)] = number
    return found


def _waiting(row: Record) -> list[Waiting]:
    return [
        Waiting(
            id=UUID(each["id"]),
            org_id=UUID(each["org_id"]),
            org=each["org"],
            name=each["name"],
            state=State(each["state"]),
            caller=each["caller"],
            requests=each["requests"],
            since=_time(each["since"]),
            usual=each["usual"],
        )
        for each in json.loads(row["holds"] or "[]")
    ]


def _seen(row: Record) -> Seen:
    kept = {name: row[name] for name in Seen.__slots__}
    kept["state"] = State(row["state"])
    kept["labels"] = json.loads(row["labels"])
    kept["steps"] = [
        Step(_time(at), State(source), State(target), actor)
        for at, source, target, actor in json.loads(row["steps"] or "[]")
    ]
    return Seen(**kept)


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
