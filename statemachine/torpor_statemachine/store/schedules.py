"""Schedules: what each means just now, written where the reaper and the wakes read it."""

from __future__ import annotations

import logging
from datetime import timedelta

from torpor_statemachine.errors import BadSatellite
from torpor_statemachine.lifecycle.schedule import Now, lead, parse
from torpor_statemachine.postgres.pool import Database, Record
from torpor_statemachine.store.permits import PERMITTED

logger = logging.getLogger(__name__)

_DUE = """
select id, schedule, schedule_due, usual_wake, now() as read_at from satellites
where schedule_due <= now() order by schedule_due limit $1
"""
# Two nodes that have read the same write the same, once; a row that is locked has its turn at the
# next look. A sleeping satellite whose hours begin is wanted, until they end.
_FOLLOW = f"""
with free as materialized (
    select id from satellites where id = any($1) order by id for no key update skip locked
)
update satellites as s set
    awake_until = news.until,
    schedule_due = news.at,
    wake_requested = case
        when news.until is not null
            then wake_requested or s.state in ('asleep', 'sleeping') and {PERMITTED}
        else wake_requested and awake_until is null end
from unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::timestamptz[])
    as news (id, schedule, due, until, at)
where s.id = news.id and s.id in (select id from free)
    and s.schedule = news.schedule and s.schedule_due = news.due
"""
_MANY = 500
_UNREADABLE = timedelta(hours=1)  # until one is tried again


class Schedules:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def follow(self) -> None:
        """Write down what schedules mean whose hours have begun or ended."""
        if due := await self._database.fetch(_DUE, _MANY):
            now = [_now(row) for row in due]
            await self._database.execute(
                _FOLLOW,
                [row["id"] for row in due],
                [row["schedule"] for row in due],
                [row["schedule_due"] for row in due],
                [each.until for each in now],
                [each.at for each in now],
            )


def _now(row: Record) -> Now:
    try:
        return parse(row["schedule"]).at(row["read_at"], lead(row["usual_wake"]))
    except BadSatellite as error:  # this node's zones are not those of the one that took it
        logger.warning("the schedule of satellite %s cannot be followed: %s", row["id"], error)
        return Now(None, row["read_at"] + _UNREADABLE)
