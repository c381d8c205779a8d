"""What a fleet at rest asked at commit f9a7927, kept as it was to be measured beside today's.

Each look at a satellite wrote its row, every process searched for orphans by itself, and asyncpg's
own reset followed each use of a connection.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
from fleetbench.duty import Duty
from fleetbench.rows import CLOUD, SCRAPE

MIGRATIONS = "0004_obstacle"  # its newest

_COLUMNS = """
    s.*, orgs.name as org,
    extract(epoch from s.claim_deadline - clock_timestamp())::float8 as claim_left,
    extract(epoch from now() - s.state_since)::float8 as state_age,
    extract(epoch from s.retry_at - now())::float8 as retry_in
"""
_REGISTER = """
insert into nodes (id, expires_at, leases_until) values ($1, now() + $2, now() + $2)
returning term
"""
_RENEW = """
update nodes set expires_at = now() + $3, leases_until = now() + $4
where id = $1 and term = $2 and leases_until > now()
returning true
"""
_STANDING = """
select
    array(select satellite_id from leases where node_id = $1) as leases,
    array(select (id, epoch) from satellites where claimed_by = $1) as claims
"""
_UNDONE = f"""
select {_COLUMNS} from satellites s join orgs on orgs.id = s.org_id
where s.claimed_by is not null and (
    s.claim_deadline < now()
    or now() - pg_postmaster_start_time() > $1 and not exists (
        select from nodes where nodes.id = s.claimed_by and nodes.expires_at > now()))
    and s.provisioner = any($2)
order by s.claim_deadline limit $3
"""
_WANTED = f"""
select {_COLUMNS} from satellites s join orgs on orgs.id = s.org_id
where s.state = 'asleep' and s.wake_requested and s.claimed_by is null
    and s.provisioner = any($1) and (s.retry_at is null or s.retry_at <= now())
limit $2
"""
_DUE = f"""
select {_COLUMNS} from satellites s join orgs on orgs.id = s.org_id
where s.state = 'running' and s.sleep_due <= now() and s.claimed_by is null
    and s.provisioner = any($1)
order by s.sleep_due limit $2
for update of s skip locked
"""
_SWEEP = """
with dead as (
    delete from nodes
    where leases_until < now() and now() - pg_postmaster_start_time() > $1
    returning id
)
select array_agg(id) from dead
"""
_FORSAKEN = """
select id from satellites
where state = 'running' and claimed_by is null and sleep_due is null
    and not exists (select from leases where satellite_id = satellites.id)
for update skip locked
"""
_UNCHECKED = f"""
with due as (
    select id from satellites
    where claimed_by is null and state in ('running', 'asleep')
        and checked_at < now() - $1::interval and state_since < now() - $2::interval
        and provisioner = any($3) and ref is not null
    order by checked_at limit $4
    for update skip locked
), seen as (
    update satellites set checked_at = now() where id = any(array(select id from due))
    returning *
)
select {_COLUMNS} from seen s join orgs on orgs.id = s.org_id
"""
_COUNT = "select state, count(*) from satellites where state <> 'terminated' group by state"
_STRANGERS = """
select owner from unnest($1::uuid[]) as owner
where not exists (select from satellites where satellites.id = owner)
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
# Seconds, as its FleetConfig had them
_HEARTBEAT, _POLL, _REAP, _CLAIMS_LIVE, _RECONCILE, _ORPHAN_SEARCH = 2.0, 1.0, 1.0, 7.0, 15.0, 300.0
_REAP_BATCH, _MANY = 50, 500
_PROVE_EVERY = 10.0
_HOUR = timedelta(hours=1)


class OldFleet:
    """So many processes of it over a pool, which they share here."""

    def __init__(
        self,
        pool: asyncpg.Pool[Any],
        satellites: int,
        machines: Mapping[str, tuple[UUID, int]],
    ) -> None:
        self._pool = pool
        self._satellites = satellites
        self._machines = machines
        self._nodes: list[tuple[UUID, int]] = []

    async def start(self, processes: int) -> None:
        for _ in range(processes):
            node_id = uuid4()
            self._nodes.append((node_id, await self._pool.fetchval(_REGISTER, node_id, _HOUR)))

    @property
    def duties(self) -> list[Duty]:
        processes = len(self._nodes)
        return [
            Duty("heartbeat", processes / _HEARTBEAT, self._beat),
            Duty("late claims", processes / _POLL, self._undone),
            Duty("wanted wakes", processes / _POLL, self._wanted),
            Duty("idle satellites", processes / _REAP, self._reap),
            Duty("dead nodes", processes / _CLAIMS_LIVE, self._sweep),
            Duty("looks at satellites", processes / (_RECONCILE / 3), self._check),
            Duty("orphans", processes / _ORPHAN_SEARCH, self._orphans),
            Duty("metrics", processes / SCRAPE, self._scrape),
            Duty("listening, proved", processes / _PROVE_EVERY, self._prove),
        ]

    async def _beat(self, n: int) -> None:
        node_id, term = self._nodes[n]
        await self._pool.fetchval(_RENEW, node_id, term, _HOUR, _HOUR)
        await self._pool.fetchrow(_STANDING, node_id)

    async def _undone(self, _: int) -> None:
        await self._pool.fetch(_UNDONE, timedelta(seconds=_HEARTBEAT), [CLOUD], _MANY)

    async def _wanted(self, _: int) -> None:
        await self._pool.fetch(_WANTED, [CLOUD], _MANY)

    async def _reap(self, _: int) -> None:
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.fetch(_DUE, [CLOUD], _REAP_BATCH)

    async def _sweep(self, _: int) -> None:
        await self._pool.fetchval(_SWEEP, timedelta(seconds=60))
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.fetch(_FORSAKEN)

    async def _check(self, _: int) -> None:
        """As many rows as are due for one process, each time it looks."""
        rows = max(1, round(self._satellites / _RECONCILE / (len(self._nodes) / (_RECONCILE / 3))))
        cloud_lag = timedelta(seconds=10)
        await self._pool.fetch(_UNCHECKED, timedelta(0), cloud_lag, [CLOUD], min(rows, _MANY))

    async def _orphans(self, _: int) -> None:
        owners = list({owner for owner, _ in self._machines.values()})
        await self._pool.fetch(_STRANGERS, owners, timeout=60)
        await self._pool.fetch(
            _ORPHANS,
            CLOUD,
            list(self._machines),
            [owner for owner, _ in self._machines.values()],
            [generation for _, generation in self._machines.values()],
            timedelta(seconds=_ORPHAN_SEARCH / 2),
            timeout=60,
        )

    async def _scrape(self, _: int) -> None:
        await self._pool.fetch(_COUNT)

    async def _prove(self, n: int) -> None:
        """Which wakes every listener of the database."""
        await self._pool.execute("select pg_notify($1, $2)", f"torpor_{n:016x}", "0" * 16)
