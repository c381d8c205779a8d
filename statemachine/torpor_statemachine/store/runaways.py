"""Runaways: what satellites did lately, alarms about them, and what is chosen to happen then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from uuid import UUID

from torpor_statemachine.errors import RunawayAwake, UnknownSatellite, record
from torpor_statemachine.lifecycle.runaway import FLOOR, PAST, Activity
from torpor_statemachine.postgres.pool import Database

ALLOWED = timedelta(days=7)
KEPT = timedelta(days=30)
_MOST = 500  # candidates of a round

_AWAKE = "launching + running + sleeping + waking + updating + terminating"
# Their days up to now; only of those that are awake, and were for long today or yesterday
_CANDIDATES = f"""
with today as (select (now() at time zone 'UTC')::date as day), spans as (
    select satellite_id, days.day, {_AWAKE} as awake
    from satellite_days as days, today where days.day between today.day - {PAST + 1} and today.day
    union all
    select satellites.id, passed.day, passed.seconds from satellites, today, days_of(
        greatest(state_since, (today.day - {PAST + 1})::timestamp at time zone 'UTC'), now())
        as passed
    where state = 'running'
), days as (
    select satellite_id, day, sum(awake) / 3600 as hours from spans group by satellite_id, day
), candidates as (
    select satellites.id, satellites.org_id from satellites, today
    where state = 'running'
        and not exists (select from runaways where satellite_id = satellites.id
            and (suspended or runaways.day >= today.day - 1 or allowed_until > now()))
        and exists (select from days where days.satellite_id = satellites.id
            and days.day >= today.day - 1 and hours >= {FLOOR})
    order by satellites.id limit {_MOST}
)
select candidates.id, today.day as today, days.day, hours, coalesce((
        select sum(streams) from satellite_hours as seen
        where seen.satellite_id = candidates.id
            and seen.hour >= days.day::timestamp at time zone 'UTC'
            and seen.hour < (days.day + 1)::timestamp at time zone 'UTC'), 0)::bigint as streams
from candidates join days on days.satellite_id = candidates.id, today
"""
_CHOSEN = """
coalesce((select suspends from runaway_choices where org_id = satellites.org_id),
    (select suspends from runaway_choices where org_id is null), false)
"""
_FOUND = f"""
with found as (
    insert into runaways as known (satellite_id, day, detail, suspended)
    select satellites.id, $2, $3, {_CHOSEN} from satellites where id = $1 and state = 'running'
    on conflict (satellite_id) do update set day = excluded.day, detail = excluded.detail,
        suspended = excluded.suspended, found_at = now(), allowed_until = null
    where known.day < excluded.day and not known.suspended
        and (known.allowed_until is null or known.allowed_until < now())
    returning satellite_id
)
select add_notice('runaway', satellites.org_id, satellites.name, satellites.id::text, $4, '1 hour')
from found join satellites on satellites.id = found.satellite_id
"""
_TO_SLEEP = """
select id from satellites join runaways on satellite_id = satellites.id
where suspended and state = 'running' order by id
"""
_FORGET = "delete from runaways where not suspended and found_at + $1 < now()"
_ALL = """
select orgs.name as org, satellites.name, satellites.state, runaways.day, found_at, detail,
    suspended, allowed_until
from runaways join satellites on satellites.id = satellite_id join orgs on orgs.id = org_id
order by found_at desc, orgs.name, satellites.name
"""
_ALLOW = """
update runaways set suspended = false, allowed_until = now() + $3
from satellites join orgs on orgs.id = org_id
where satellites.id = satellite_id and orgs.name = $1 and satellites.name = $2
returning satellite_id
"""
_CHOOSE = """
insert into runaway_choices (org_id, suspends, actor) values ($1, $2, $3)
on conflict (coalesce(org_id, '00000000-0000-0000-0000-000000000000')) do update
    set suspends = excluded.suspends, actor = excluded.actor, made_at = now()
"""


@dataclass(slots=True)
class Candidate:
    """A satellite that was awake for long today or yesterday, and its days by date."""

    id: UUID
    today: date
    days: dict[date, Activity] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Runaway:
    """An alarm, as people read it. `suspended`: it is not woken until it is allowed."""

    org: str
    name: str
    state: str
    day: date
    found_at: datetime
    detail: str
    suspended: bool
    allowed_until: datetime | None


class Runaways:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def candidates(self) -> Mapping[UUID, Candidate]:
        found: dict[UUID, Candidate] = {}
        for row in await self._database.fetch(_CANDIDATES):
            one = found.setdefault(row["id"], Candidate(row["id"], row["today"]))
            one.days[row["day"]] = Activity(row["hours"], row["streams"])
        return found

    async def found(self, satellite_id: UUID, day: date, detail: str) -> bool:
        """Write an alarm and its notice, once a day; whether it is new."""
        written = record(RunawayAwake(detail))
        added = await self._database.fetchrow(_FOUND, satellite_id, day, detail, written)
        return added is not None

    async def to_sleep(self) -> list[UUID]:
        """Those that are suspended and awake."""
        return [row["id"] for row in await self._database.fetch(_TO_SLEEP)]

    async def forget(self) -> None:
        await self._database.execute(_FORGET, KEPT)

    async def all(self) -> list[Runaway]:
        """Alarms of the last weeks, the newest first."""
        return [Runaway(**row) for row in await self._database.fetch(_ALL)]

    async def allow(self, org: str, name: str, lasts: timedelta = ALLOWED) -> None:
        """Let it wake again, without another alarm for so long.

        Raises:
            UnknownSatellite: there is no alarm about one of that name.
        """
        if await self._database.fetchval(_ALLOW, org, name, lasts) is None:
            raise UnknownSatellite(f"{org}/{name} among those with an alarm")

    async def choose(self, org_id: UUID | None, *, suspends: bool, actor: str) -> None:
        """What happens to runaways from now on: of an org, or of those that have not chosen."""
        await self._database.execute(_CHOOSE, org_id, suspends, actor)
