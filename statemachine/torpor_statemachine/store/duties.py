"""What there is to do: what was left undone, who is wanted (see `idle` and `rounds` too).

A node asks for the satellites of the `provisioners` that it serves.
Every node asks; SKIP LOCKED or the claim itself shares the work among them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import timedelta

from torpor_statemachine.config import FleetConfig
from torpor_statemachine.lifecycle.satellite import Satellite
from torpor_statemachine.postgres.pool import Database, Record
from torpor_statemachine.store import rows

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
    where expires_at > now() + 2 * $4::interval or leases_until > now() + 2 * $5::interval
)
select {rows.COLUMNS} from satellites s join orgs on orgs.id = s.org_id
where s.claimed_by is not null and (
    s.claim_deadline < now()
    or $6 and now() - pg_postmaster_start_time() not between interval '0' and $1 and not exists (
        select from nodes where nodes.id = s.claimed_by and nodes.expires_at > now()))
    and s.provisioner = any($2)
order by s.claim_deadline limit $3
"""
_WANTED = f"""
select {rows.COLUMNS} from satellites s join orgs on orgs.id = s.org_id
where s.state = 'asleep' and s.wake_requested and s.claimed_by is null
    and s.provisioner = any($1) and (s.retry_at is null or s.retry_at <= now())
limit $2
"""
_UNCHANGED = f"""
select {rows.COLUMNS} from satellites s join orgs on orgs.id = s.org_id
where s.state = 'asleep' and s.wanted is not null and s.claimed_by is null
    and s.provisioner = any($1) and (s.retry_at is null or s.retry_at <= now())
limit $2
"""
_ORPHANS = """
with seen as (
    select ref, satellite_id, generation
    from unnest($2::text[], $3::uuid[], $4::int[]) as seen (ref, satellite_id, generation)
), orphans_now as (
    select seen.ref from seen join satellites s on s.id = seen.satellite_id
    where s.state = 'terminated' and s.state_since < now() - interval '1 minute'
        or s.generation > seen.generation
        or s.generation = seen.generation and s.ref <> seen.ref
), forgotten as (
    delete from orphans where provisioner = $1 and ref not in (select ref from orphans_now)
), known as (
    insert into orphans (provisioner, ref) select $1, ref from orphans_now
    on conflict do nothing
)
select ref from orphans
where provisioner = $1 and first_seen < now() - $5::interval
    and ref in (select ref from orphans_now)
"""
_MANY = 500


class Duties:
    def __init__(self, database: Database, config: FleetConfig) -> None:
        self._database = database
        self._lives = (
            timedelta(seconds=config.claims_live),
            timedelta(seconds=config.leases_live),
        )

    async def undone(
        self, provisioners: Collection[str], grace: float, *, judges: bool = True
    ) -> list[Satellite]:
        """Transitions whose node is late or, if this one `judges`, dead. `grace`: in which a
        living node renews."""
        values = timedelta(seconds=grace), list(provisioners), _MANY, *self._lives, judges
        return _all(await self._database.fetch(_UNDONE, *values))

    async def wanted(self, provisioners: Collection[str]) -> list[Satellite]:
        """Asleep, though a wake was asked for while they fell asleep."""
        return _all(await self._database.fetch(_WANTED, list(provisioners), _MANY))

    async def unchanged(self, provisioners: Collection[str]) -> list[Satellite]:
        """Asleep, though a change was asked for."""
        return _all(await self._database.fetch(_UNCHANGED, list(provisioners), _MANY))

    async def orphans(
        self, provisioner: str, machines: Mapping[str, tuple[object, int]], age: float
    ) -> list[str]:
        """Of the `machines` there are (ref: satellite id, generation), those that their satellite
        has left behind, and had `age` seconds ago already."""
        found = await self._database.fetch(
            _ORPHANS,
            provisioner,
            list(machines),
            [satellite_id for satellite_id, _ in machines.values()],
            [generation for _, generation in machines.values()],
            timedelta(seconds=age),
        )
        return [row["ref"] for row in found]


def _all(found: list[Record]) -> list[Satellite]:
    return [rows.satellite(row) for row in found]
