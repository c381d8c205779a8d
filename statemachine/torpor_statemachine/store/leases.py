"""Leases: a node's statement that streams are open on a satellite.

A lease is taken by a statement that writes the satellite's row, and a satellite is put to sleep
by one that looks for leases when it has that row (`leased_now`, in migrations/): whichever comes
first, the other sees it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from math import inf
from uuid import UUID

import asyncpg

from torpor_statemachine.lifecycle.departure import Departure, departure
from torpor_statemachine.lifecycle.satellite import Satellite
from torpor_statemachine.postgres.pool import Database, DatabaseAway
from torpor_statemachine.store import rows

# Whether the row was written, or found true, on the timeline of the server that answers. One that
# was promoted may lack the last commits of the one before it: a row from there may say that a
# machine runs where meanwhile another one does.
PROVED = "timeline in ('', server_timeline())"
# `seen` comes first: when it waited for a transition to commit, it alone knows the row after it.
_TAKE = f"""
with seen as (
    update satellites set idle_since = null, sleep_due = null
    where id = $1 and state = 'running' and claimed_by is null
        and exists (select from nodes
            where nodes.id = $2 and nodes.term = $3 and nodes.leases_until > now())
    returning *
), taken as (
    insert into leases (satellite_id, node_id) select id, $2 from seen
    on conflict do nothing
)
select true as leased, {PROVED} as proved, {rows.COLUMNS}
from seen s join orgs on orgs.id = s.org_id
union all
select false as leased, true as proved, {rows.COLUMNS}
from satellites s join orgs on orgs.id = s.org_id
where s.id = $1 and not exists (select from seen)
"""

_DROP = """
with locked as materialized (
    select id from satellites where id = any($1) order by id for update
), dropped as (
    delete from leases where node_id = $2 and satellite_id in (select id from locked)
)
update satellites set
    idle_since = now() - $3::interval,
    sleep_due = now() - $3::interval + sleep_after
where id = any(array(select id from locked))
    and state = 'running' and claimed_by is null and idle_since is null
    and not leased_now(id, $2)
"""

# What dead nodes leave behind. Right after Postgres itself was away every node looks dead, so
# each is first given the time in which a living one renews.
_SWEEP = """
with dead as (
    delete from nodes
    where leases_until < now() and extract(epoch from now()) <= $2::float8
        and now() - pg_postmaster_start_time() not between interval '0' and $1
    returning id
)
select array_agg(id) from dead
"""
# Locked before the last look for leases; what is locked has its turn the next time. Not due before
# a node that lives has found out that its leases ended, and has taken them again.
_SETTLE = """
with forsaken as materialized (
    select id from satellites
    where state = 'running' and claimed_by is null and sleep_due is null
        and not exists (select from leases where satellite_id = satellites.id)
    for update skip locked
)
update satellites set idle_since = now(), sleep_due = now() + greatest(sleep_after, $1)
where id = any(array(select id from forsaken)) and not leased_now(id)
"""


# The newest: what was open before an older one is over as well
_DEPARTURE = """
select * from transitions
where satellite_id = $1 and epoch > $2 and source = 'running'
    and (target <> 'running' or event = 'moved')
order by id desc limit 1
"""


@dataclass(frozen=True, slots=True)
class Taken:
    """The satellite, and whether this node has a lease on it now. Where it is not `proved`, a
    failover may have lost what became of its machine since: compare them before a stream goes
    there."""

    satellite: Satellite
    leased: bool
    proved: bool = True


class Leases:
    """The leases of one node."""

    def __init__(self, database: Database, node_id: UUID) -> None:
        self._database = database
        self._node_id = node_id

    async def take(self, satellite_id: UUID, term: int) -> Taken | None:
        """Take a lease if the satellite runs, and tell how it is either way; None: no such row."""
        try:
            row = await self._database.fetchrow(_TAKE, satellite_id, self._node_id, term)
        except asyncpg.ForeignKeyViolationError as error:
            raise DatabaseAway("this node's term ended while it took a lease") from error
        return Taken(rows.satellite(row), row["leased"], row["proved"]) if row is not None else None

    async def drop(self, satellite_ids: Collection[UUID], lingered: float) -> None:
        """Give leases up; a satellite without any other has been idle for `lingered` seconds."""
        ids: Sequence[UUID] = list(satellite_ids)
        await self._database.execute(_DROP, ids, self._node_id, timedelta(seconds=lingered))

    async def departure(self, satellite_id: UUID, since: int) -> Departure | None:
        """How the satellite has last left running after the epoch `since`; None if it has not."""
        row = await self._database.fetchrow(_DEPARTURE, satellite_id, since)
        return departure(rows.transition(row)) if row is not None else None

    async def sweep(self, grace: float, found_out: float, latest: float = inf) -> int:
        """Forget nodes whose leases have ended, if the database's clock shows `latest` at most;
        their satellites are idle from now on, and due for sleep in `found_out` seconds at the
        soonest."""
        dead = await self._database.fetchval(_SWEEP, timedelta(seconds=grace), latest)
        await self._database.execute(_SETTLE, timedelta(seconds=found_out))
        return len(dead or ())
