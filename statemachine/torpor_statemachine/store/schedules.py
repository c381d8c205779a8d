"""Schedules: what each means just now, written where the reaper and the wakes read it."""

from __future__ import annotations

import logging
from datetime import timedelta

from torpor_statemachine.errors import BadSatellite
from torpor_statemachine.lifecycle.schedule import Now, lead, parse
from torpor_statemachine.postgres.pool import Database, Record

logger = logging.getLogger(__name__)

_DUE = """
select id, schedule, schedule_due, usual_wake, now() as read_at from satellites
where schedule_due <= now() order by schedule_due limit $1
"""
# Two nodes that have read the same write the same, once. A sleeping satellite whose hours begin is
# wanted.
_FOLLOW = """
update satellites set
    awake_until = news.until,
    schedule_due = news.at,
    wake_requested = wake_requested
        or news.until is not null and state in ('asleep', 'sleeping')
from unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::timestamptz[])
    as news (id, schedule, due, until, at)
where satellites.id = news.id
    and satellites.schedule = news.schedule and satellites.schedule_due = news.due
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
