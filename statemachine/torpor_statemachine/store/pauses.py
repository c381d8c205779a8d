"""Pauses of sleep: until when an operator wants nothing idle to be put to sleep, and why."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from torpor_statemachine.errors import BadPause, SleepPaused
from torpor_statemachine.postgres.pool import Database

LONGEST = timedelta(days=7)
LONGEST_REASON = 200  # characters, as in migrations/

# For a statement's rows of `satellites`
UNPAUSED = """
not exists (select from sleep_pauses as pause where pause.until > now()
    and (pause.org_id is null or pause.org_id = satellites.org_id))
"""
_ON = """
insert into sleep_pauses (org_id, until, reason, actor) values ($1, now() + $2, $3, $4)
on conflict (coalesce(org_id, '00000000-0000-0000-0000-000000000000')) do update
    set until = excluded.until, reason = excluded.reason, actor = excluded.actor, made_at = now()
"""
_OFF = "delete from sleep_pauses where org_id is not distinct from $1 and until > now() returning 1"
_ALL = """
select orgs.name as org, until, reason, actor, made_at, now() as read_at
from sleep_pauses left join orgs on orgs.id = org_id
where until > now() order by orgs.name nulls first
"""
_OF = """
select until, reason, actor from sleep_pauses
where until > now() and (org_id is null or org_id = $1)
order by until desc limit 1
"""


@dataclass(frozen=True, slots=True)
class Pause:
    """`org` is None for every org. Times are the database's, `read_at` is now."""

    org: str | None
    until: datetime
    reason: str
    actor: str
    made_at: datetime
    read_at: datetime


class Pauses:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def on(self, org_id: UUID | None, lasts: timedelta, reason: str, actor: str) -> None:
        """Pause from now on; of an earlier pause of the same, nothing is left.

        Raises:
            BadPause: it lasts too long, or without a reason.
        """
        if not timedelta() < lasts <= LONGEST:
            raise BadPause(f"for {lasts}; {LONGEST.days} days at most")
        if not reason.strip() or len(reason) > LONGEST_REASON or not reason.isprintable():
            raise BadPause(f"a reason has 1 to {LONGEST_REASON} printable characters")
        await self._database.execute(_ON, org_id, lasts, reason, actor)

    async def off(self, org_id: UUID | None) -> bool:
        """End it; False if there is none."""
        return await self._database.fetchval(_OFF, org_id) is not None

    async def all(self) -> list[Pause]:
        """Those that last still."""
        return [Pause(**row) for row in await self._database.fetch(_ALL)]

    async def of(self, org_id: UUID) -> SleepPaused | None:
        """What keeps an idle satellite of that org awake, if that is a pause."""
        row = await self._database.fetchrow(_OF, org_id)
        if row is None:
            return None
        return SleepPaused(
            f"until {row['until']:%Y-%m-%d %H:%M} UTC, {row['actor']}: {row['reason']}"
        )
