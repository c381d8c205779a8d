"""What is deleted after its time, a bounded number of rows a statement.

Nothing that is counted by days is lost by it: see `usage`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from torpor_statemachine.postgres.pool import Database

BATCH = 1_000
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)

# The last step of each satellite stays: it says why the satellite is as it is
_TRANSITIONS = """
with old as materialized (
    select id, satellite_id, at from transitions
    where (at, id) > ($1, $2) and at < now() - $3::interval
    order by at, id limit $4
), gone as (
    delete from transitions using old
    where transitions.id = old.id and exists (
        select from transitions later
        where later.satellite_id = old.satellite_id and later.id > old.id)
    returning transitions.id
)
select at, id, (select count(*) from gone) as gone from old order by at desc, id desc limit 1
"""
# With its steps. One that is locked is read or written now, and goes the next time.
_SATELLITES = """
with old as materialized (
    select id from satellites
    where state = 'terminated' and state_since < now() - $1::interval
    order by state_since limit $2
    for update skip locked
), gone as (
    delete from satellites where id = any(array(select id from old)) returning id
)
select count(*) from gone
"""
_DAYS = """
with gone as (
    delete from satellite_days where ctid = any(array(
        select ctid from satellite_days where day < (now() - $1::interval)::date limit $2))
    returning day
)
select count(*) from gone
"""
_HOURS = """
with gone as (
    delete from satellite_hours where ctid = any(array(
        select ctid from satellite_hours where hour < now() - $1::interval limit $2))
    returning hour
)
select count(*) from gone
"""


@dataclass(frozen=True, slots=True)
class Pruned:
    """Rows that are `gone`, and the last step that was looked at: from there it goes on."""

    gone: int
    at: datetime
    id: int


class Pruning:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def transitions(self, kept: timedelta, after: Pruned | None) -> Pruned | None:
        """Some of the steps that are older than `kept`; None: that was all of them."""
        since = (after.at, after.id) if after is not None else (_BEGINNING, 0)
        row = await self._database.fetchrow(_TRANSITIONS, *since, kept, BATCH)
        return Pruned(row["gone"], row["at"], row["id"]) if row is not None else None

    async def satellites(self, kept: timedelta) -> int:
        """Some of those that were terminated longer ago; how many."""
        return await self._some(_SATELLITES, kept, BATCH // 10)

    async def days(self, kept: timedelta) -> int:
        """Some daily totals from before; how many."""
        return await self._some(_DAYS, kept, BATCH)

    async def hours(self, kept: timedelta) -> int:
        """Some hourly totals from before; how many."""
        return await self._some(_HOURS, kept, BATCH)

    async def _some(self, sql: str, kept: timedelta, most: int) -> int:
        gone: int = await self._database.fetchval(sql, kept, most)
        return gone
