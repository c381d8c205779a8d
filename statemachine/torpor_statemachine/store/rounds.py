"""Satellites at rest, in turn: each is seen by one node every so often, and nothing is written.

The nodes that live divide the ids among themselves, which are random: a node's share is what lies
between two of them. It goes through its share a batch at a time. When nodes come and go shares
move, and a satellite may be seen twice in a round, or a round later.

A round of very many takes longer: no cloud shows 100,000 machines every 15 seconds.
"""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from torpor_statemachine import clock
from torpor_statemachine.config import FleetConfig
from torpor_statemachine.lifecycle.satellite import Satellite
from torpor_statemachine.postgres.pool import Database
from torpor_statemachine.store import rows

BATCH = 200  # a larger one would keep the event loop for too long
_IDS = 1 << 128

_SERVING = """
select id from nodes where expires_at > now() and $1 = any(provisioners) order by id
"""
_RESTING = f"""
select {rows.COLUMNS} from satellites s join orgs on orgs.id = s.org_id
where s.claimed_by is null and s.state in ('running', 'asleep')
    and s.provisioner = $1 and s.id between $2 and $3
    and s.state_since < now() - $4::interval and s.ref is not null
order by s.id limit $5
"""


class Rounds:
    """One node's rounds through the satellites of each cloud that it serves."""

    def __init__(self, database: Database, config: FleetConfig, node_id: UUID) -> None:
        self._database = database
        self._config = config
        self._node_id = node_id
        self._of: dict[str, _Round] = {}

    async def batch(self, provisioner: str) -> list[Satellite]:
        """Those to look at now; none when a round is over and the next one not due yet."""
        if provisioner not in self._of:
            self._of[provisioner] = _Round(self._database, self._config, self._node_id, provisioner)
        return await self._of[provisioner].batch()


class _Round:
    def __init__(
        self, database: Database, config: FleetConfig, node_id: UUID, provisioner: str
    ) -> None:
        self._database = database
        self._config = config
        self._every = config.reconcile
        self._cloud_lag = timedelta(seconds=config.cloud_lag)
        self._node_id = node_id
        self._provisioner = provisioner
        self._next: int | None = None  # the first id that this round has not come to; None: over
        self._began = clock.now() - self._every
        self._seen = 0  # in this round

    async def batch(self) -> list[Satellite]:
        now = clock.now()
        if self._next is None and now < self._began + self._every:
            return []
        share = await self._share()
        if share is None:
            return []
        first, last, nodes = share
        if self._next is None:
            self._began, self._seen = now, 0
        if self._next is None or not first <= self._next <= last:
            self._next = first
        found = await self._database.fetch(
            _RESTING,
            self._provisioner,
            UUID(int=self._next),
            UUID(int=last),
            self._cloud_lag,
            BATCH,
        )
        more = len(found) == BATCH and found[-1]["id"].int < last
        self._next = found[-1]["id"].int + 1 if more else None
        self._seen += len(found)
        self._every = max(self._config.reconcile, self._seen * nodes / self._config.looks)
        return [rows.satellite(row) for row in found]

    async def _share(self) -> tuple[int, int, int] | None:
        """The first and the last id that are this node's to look at, and of how many shares this is
        one; None while others have given it up, and divide what was its."""
        serving = await self._database.fetch(_SERVING, self._provisioner)
        nodes = [row["id"] for row in serving]
        if self._node_id not in nodes:
            return None
        place = nodes.index(self._node_id)
        return _IDS * place // len(nodes), _IDS * (place + 1) // len(nodes) - 1, len(nodes)
