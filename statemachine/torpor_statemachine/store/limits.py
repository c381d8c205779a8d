"""Limits of orgs: how many satellites they have, how many are awake, how often one is woken.

They are kept by the claims themselves (`limit_reached` in migrations/).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from torpor_statemachine.errors import BadLimits
from torpor_statemachine.postgres.pool import Database

MOST = 1_000_000
_SET = """
insert into org_limits (org_id, machines, awake, wakes_per_hour, set_by) values ($1, $2, $3, $4, $5)
on conflict (org_id) do update set
    machines = excluded.machines, awake = excluded.awake,
    wakes_per_hour = excluded.wakes_per_hour, set_by = excluded.set_by, set_at = now()
"""
_REMOVE = "delete from org_limits where org_id = $1 returning 1"
_ALL = """
select orgs.name as org, machines, awake, wakes_per_hour, set_by, set_at,
    (select count(*) from satellites
        where satellites.org_id = orgs.id and state not in ('terminating', 'terminated'))
        as machines_now,
    (select count(*) from satellites
        where satellites.org_id = orgs.id and state in ('launching', 'waking', 'running'))
        as awake_now
from org_limits join orgs on orgs.id = org_limits.org_id
where $1::uuid is null or org_limits.org_id = $1
order by orgs.name
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """None: no limit.

    Raises:
        BadLimits: a number that cannot be meant.
    """

    machines: int | None = None
    awake: int | None = None
    wakes_per_hour: int | None = None

    def __post_init__(self) -> None:
        for number in (self.machines, self.awake, self.wakes_per_hour):
            if number is not None and not 0 <= number <= MOST:
                raise BadLimits(f"{number}; 0 to {MOST}")


@dataclass(frozen=True, slots=True)
class OrgLimits:
    """An org's limits, and what it has now."""

    org: str
    machines: int | None
    awake: int | None
    wakes_per_hour: int | None
    set_by: str
    set_at: datetime
    machines_now: int
    awake_now: int

    @property
    def limits(self) -> Limits:
        return Limits(machines=self.machines, awake=self.awake, wakes_per_hour=self.wakes_per_hour)


class LimitStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def set(self, org_id: UUID, limits: Limits, actor: str) -> None:
        """From the next wake or launch on. Nothing that is awake is put to sleep."""
        await self._database.execute(
            _SET, org_id, limits.machines, limits.awake, limits.wakes_per_hour, actor
        )

    async def remove(self, org_id: UUID) -> bool:
        """False if there are none."""
        return await self._database.fetchval(_REMOVE, org_id) is not None

    async def all(self, org_id: UUID | None = None) -> list[OrgLimits]:
        """Of every org that has any, or of one."""
        return [OrgLimits(**row) for row in await self._database.fetch(_ALL, org_id)]
