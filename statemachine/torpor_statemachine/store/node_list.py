"""Every node, as operators see it; and what they want of one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from torpor_statemachine.errors import CannotDrain, NoNodeLives, UnknownNode
from torpor_statemachine.postgres.pool import Database

_HEX = re.compile(r"[0-9a-f-]{1,36}")
# A node that has died is forgotten when its leases have ended
_NODES = """
select id, listens, version, started_at,
       case when expires_at <= now() then 'silent'
            when phase = 'serving' and drain is not null then 'draining'
            else coalesce(phase, 'serving') end as state,
       (select count(*) from leases where node_id = nodes.id) as leases,
       streams, lag, expires_at, now() as read_at
  from nodes
 where $1::text is null or id::text like $1 || '%'
 order by started_at, id
"""
_DRAIN = "update nodes set drain = $2 where id = $1 and version is not null returning true"

_SERVES = """
select id from nodes where expires_at > now() and $1 = any(provisioners)
 order by expires_at desc limit 1
"""


@dataclass(frozen=True, slots=True)
class NodeSeen:
    """A node as of its last heartbeat. Times are the database's, `read_at` is now.

    `state` is "serving", "draining", "drained" or "silent" (not heard of any more). `listens`,
    `version`, `streams` and `lag` (seconds) are None where it is of an older version.
    """

    id: UUID
    listens: str | None
    version: str | None
    started_at: datetime
    state: str
    leases: int
    streams: int | None
    lag: float | None
    expires_at: datetime
    read_at: datetime

    @property
    def up(self) -> timedelta:
        return self.read_at - self.started_at


class NodeList:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> list[NodeSeen]:
        """Those that live, and those that died just now; the oldest first."""
        return await self._some(None)

    async def one(self, beginning: str) -> NodeSeen:
        """The node whose id begins so.

        Raises:
            UnknownNode: there is none, or several.
        """
        found = await self._some(beginning) if _HEX.fullmatch(beginning) else []
        if len(found) != 1:
            raise UnknownNode(f"{beginning[:40]!r}: {len(found)} nodes")
        return found[0]

    async def drain(self, node_id: UUID, *, end: bool) -> None:
        """Have it drain with its next heartbeat, and its process `end` then.

        Raises:
            CannotDrain: it has gone, or is of a version that cannot.
        """
        wanted = "end" if end else "drain"
        if await self._database.fetchval(_DRAIN, node_id, wanted) is None:
            raise CannotDrain(str(node_id))

    async def serving(self, provisioner: str) -> UUID:
        """A node that lives and looks after the provisioner's satellites.

        Raises:
            NoNodeLives: there is none.
        """
        found: UUID | None = await self._database.fetchval(_SERVES, provisioner)
        if found is None:
            raise NoNodeLives(provisioner)
        return found

    async def _some(self, beginning: str | None) -> list[NodeSeen]:
        return [NodeSeen(**row) for row in await self._database.fetch(_NODES, beginning)]
