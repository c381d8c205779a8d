"""What there is to do: what was left undone, who is wanted (see `idle` and `rounds` too).

A node asks for the satellites of the `provisioners` that it serves.
Every node asks; SKIP LOCKED or the claim itself shares the work among them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import inf
from uuid import UUID

from torpor_statemachine.config import FleetConfig
from torpor_statemachine.lifecycle.satellite import Satellite
from torpor_statemachine.postgres.pool import Database, Record
from torpor_statemachine.store import rows
from torpor_statemachine.store.permits import PERMITTED

Machines = Mapping[str, tuple[UUID, int]]  # ref: satellite id, generation

# Past its deadline, or its node is dead. Postgres may have been away just now, or silent, and with
# it every node's chance to say that it lives: then only deadlines count.
# A node that lives beyond what any heartbeat gives was renewed before the database's clock went
# back, by an operator or by a failover: it lives from now. One that is alive renews that at once.
# So may the server's start lie ahead.
_UNDONE = f"""
with corrected as (
    update nodes set
        expires_at = now() + $4::interval,
        leases_until = least(leases_until, now() + $5::interval)
    where expires_at > (select now() + 2 * $4::interval)  -- told once, not for each node
        or leases_until > (select now() + 2 * $5::interval)
)
select {rows.COLUMNS} from satellites s join orgs on orgs.id = s.org_id
where s.claimed_by is not null and extract(epoch from now()) <= $7::float8 and (
    s.claim_deadline < now()
    or $6 and now() - pg_postmaster_start_time() not between interval '0' and $1 and not exists (
        select from nodes where nodes.id = s.claimed_by and nodes.expires_at > now()))
    and s.provisioner = any($2)
order by s.claim_deadline limit $3
"""
# Mostly there is nothing; what there is may be another node's to do
_SOMETHING = """
select
    exists (select from satellites where claimed_by is not null)
        or exists (select from nodes where leases_until > (select now() + 2 * $1::interval))
        as under_way,
    exists (select from satellites
        where state = 'asleep' and wake_requested and claimed_by is null)
        or exists (select from satellites
            where state = 'asleep' and failure is not null and awake_until > now()) as wanted,
    exists (select from satellites where schedule_due <= now()) as scheduled,
    exists (select from satellites
        where state = 'asleep' and wanted is not null and claimed_by is null) as unchanged
"""
_WANTED = f"""
select {rows.COLUMNS} from satellites s join orgs on orgs.id = s.org_id
where s.state = 'asleep' and s.claimed_by is null
    and (s.wake_requested or s.failure is not null and s.awake_until > now())
    and s.provisioner = any($1) and (s.retry_at is null or s.retry_at <= now())
    and {PERMITTED}
limit $2
"""
_UNCHANGED = f"""
select {rows.COLUMNS} from satellites s join orgs on orgs.id = s.org_id
where s.state = 'asleep' and s.wanted is not null and s.claimed_by is null
    and s.provisioner = any($1) and (s.retry_at is null or s.retry_at <= now())
    -- a hibernated one is woken for it
    and (s.sleep_kind is distinct from 'hibernated' or {PERMITTED})
limit $2
"""
# A part of the machines there are
_ORPHANS = """
with seen as (
    select ref, satellite_id, generation
    from unnest($2::text[], $3::uuid[], $4::int[]) as seen (ref, satellite_id, generation)
), orphans_now as (
    select seen.ref from seen join satellites s on s.id = seen.satellite_id
    where s.state = 'terminated' and s.state_since < now() - interval '1 minute'
        or s.generation > seen.generation
        or s.generation = seen.generation and s.ref <> seen.ref
)
insert into orphans as known (provisioner, ref) select $1, ref from orphans_now
on conflict (provisioner, ref) do update set seen_at = now()
returning case when known.first_seen < now() - $5::interval then known.ref end as ref
"""
_NO_ORPHANS = "delete from orphans where provisioner = $1 and seen_at < $2"
_MANY = 500


@dataclass(frozen=True, slots=True)
class Something:
    """Whether there may be any of what `Duties` tells by the same names."""

    under_way: bool
    wanted: bool
    scheduled: bool
    unchanged: bool


class Duties:
    def __init__(self, database: Database, config: FleetConfig) -> None:
        self._database = database
        self._lives = (
            timedelta(seconds=config.claims_live),
            timedelta(seconds=config.leases_live),
        )

    async def something(self) -> Something:
        """What is worth a look, of all clouds, in one statement."""
        row = await self._database.fetchrow(_SOMETHING, self._lives[1])
        assert row is not None
        return Something(**row)

    async def undone(
        self,
        provisioners: Collection[str],
        grace: float,
        *,
        judges: bool = True,
        latest: float = inf,
    ) -> list[Satellite]:
        """Transitions whose node is late or, if this one `judges`, dead; none if the database's
        clock shows more than `latest`. `grace`: in which a living node renews."""
        lives = *self._lives, judges, latest
        values = timedelta(seconds=grace), list(provisioners), _MANY, *lives
        return _all(await self._database.fetch(_UNDONE, *values))

    async def wanted(self, provisioners: Collection[str]) -> list[Satellite]:
        """Asleep, though a wake was asked for while they fell asleep, or by their schedule."""
        return _all(await self._database.fetch(_WANTED, list(provisioners), _MANY))

    async def unchanged(self, provisioners: Collection[str]) -> list[Satellite]:
        """Asleep, though a change was asked for."""
        return _all(await self._database.fetch(_UNCHANGED, list(provisioners), _MANY))

    async def orphans(self, provisioner: str, machines: Machines, age: float) -> list[str]:
        """Of these `machines`, those that their satellite has left behind, and had `age` seconds
        ago already."""
        found = await self._database.fetch(
            _ORPHANS,
            provisioner,
            list(machines),
            [satellite_id for satellite_id, _ in machines.values()],
            [generation for _, generation in machines.values()],
            timedelta(seconds=age),
        )
        return [row["ref"] for row in found if row["ref"] is not None]

    async def no_orphans(self, provisioner: str, since: datetime) -> None:
        """All machines have been looked at `since` then: forget the orphans that were not seen."""
        await self._database.execute(_NO_ORPHANS, provisioner, since)


def _all(found: list[Record]) -> list[Satellite]:
    return [rows.satellite(row) for row in found]
