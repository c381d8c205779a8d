"""This node's row: alive for as long as it is renewed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from torpor_statemachine import clock
from torpor_statemachine.config import FleetConfig
from torpor_statemachine.postgres.pool import Pool

# A row left from before was another term: what was said under it no longer counts.
_REGISTER = """
with begun as (
    insert into nodes (id, expires_at, leases_until, provisioners, server)
    values ($1, now() + $2, now() + $3, $4, pg_postmaster_start_time())
    on conflict (id) do update set term = default, started_at = now(), server = excluded.server,
        expires_at = excluded.expires_at, leases_until = excluded.leases_until
    returning term
), ended as (
    delete from leases where node_id = $1
)
select term from begun
"""
# The term, not only the id: a renewal that matches by name alone can revive what has ended
_RENEW = """
update nodes set expires_at = now() + $3, leases_until = now() + $4,
    server = pg_postmaster_start_time(),
    version = $5, listens = $6, phase = $7, streams = $8, lag = $9
where id = $1 and term = $2 and (leases_until > now() or $10)
returning coalesce(drain, '')
"""
# A statement of its own: the renewal may have waited for a node that was taking a claim over, and
# only a new snapshot is sure to see that.
_STANDING = """
select
    array(select satellite_id from leases where node_id = $1) as leases,
    array(select (id, epoch) from satellites where claimed_by = $1) as claims,
    pg_postmaster_start_time() as server,
    extract(epoch from now())::float8 as now,
    (select count(*) from nodes where expires_at > now()) as living
"""
_LEAVE = """
with gone as (delete from nodes where id = $1 returning id)
update satellites set claim_deadline = now() from gone where claimed_by = gone.id
"""
# Its claims last for as long as it could have believed in them: the cloud may yet carry out a call
# that it made with its last breath.
_BURY = """
with fallen as (delete from leases where node_id = any($1))
update nodes set leases_until = least(leases_until, expires_at) where id = any($1)
"""


@dataclass(frozen=True, slots=True)
class NodeReport:
    """What a node tells of itself. `phase` is "serving", "draining" or "drained"; `streams` are
    open now, `lag` is the event loop's worst of late, in seconds."""

    version: str = ""
    listens: str = ""
    phase: str = "serving"
    streams: int = 0
    lag: float = 0.0


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """What the database holds in this node's name, and how many nodes live.

    `drain` is what an operator wants of it: "drain", "end" (and end its process), or nothing.
    """

    leases: frozenset[UUID]
    claims: Mapping[UUID, int]  # satellite: epoch
    server: datetime | None = None  # when it was started; after a failover it is another one
    living: int = 1
    drain: str = ""
    now: float | None = None  # by the database's clock; asked for at
    asked_at: float = 0.0  # by this node's


class Nodes:
    """One node's row, and a connection that nothing else uses."""

    def __init__(
        self,
        database: Pool,
        config: FleetConfig,
        node_id: UUID,
        provisioners: Collection[str] = (),
    ) -> None:
        self._database = database
        self._provisioners = list(provisioners)
        self._node_id = node_id
        self._lives = (
            timedelta(seconds=config.claims_live),
            timedelta(seconds=config.leases_live),
        )

    async def register(self) -> int:
        """Begin a term, and end the one before."""
        term: int = await self._database.fetchval(
            _REGISTER, self._node_id, *self._lives, self._provisioners
        )
        return term

    async def renew(
        self, term: int, report: NodeReport | None = None, *, sure: bool = False
    ) -> NodeStatus | None:
        """Live on; None if the term has ended. `sure`: it has not by a clock that cannot be set, so
        that it counts for nothing what the database's clock says of that."""
        now = report or NodeReport()
        own = (now.version, now.listens, now.phase, now.streams, now.lag, sure)
        drain = await self._database.fetchval(_RENEW, self._node_id, term, *self._lives, *own)
        if drain is None:
            return None
        asked_at = clock.now()
        row = await self._database.fetchrow(_STANDING, self._node_id)
        assert row is not None
        return NodeStatus(
            leases=frozenset(row["leases"]),
            claims=dict(row["claims"]),
            server=row["server"],
            living=row["living"],
            drain=drain,
            now=row["now"],
            asked_at=asked_at,
        )

    async def leave(self) -> None:
        """End the term at once: leases fall, and claims may be taken over. Nothing is under way."""
        await self._database.execute(_LEAVE, self._node_id)

    async def bury(self, node_ids: Sequence[UUID]) -> None:
        """End the leases of nodes that are known to be dead, and could not do it themselves."""
        await self._database.execute(_BURY, node_ids)
