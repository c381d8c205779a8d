"""Requests that wait for satellites: told by the nodes, read by people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from torpor_statemachine.postgres.pool import Database

MOST = 200  # satellites that a node tells of

# A node whose row is gone has nothing to tell; it registers anew and tells again
_TELL = """
insert into node_holds (node_id, held)
select id, $2::jsonb from nodes where id = $1
on conflict (node_id) do update set held = excluded.held, told_at = now()
"""


class Group(NamedTuple):
    """Requests that wait for one satellite. The first of them, which is of `caller`, waits for
    `age` seconds."""

    satellite_id: UUID
    caller: str
    requests: int
    age: float


class Holds:
    def __init__(self, database: Database, node_id: UUID) -> None:
        self._database = database
        self._node_id = node_id

    async def tell(self, groups: Sequence[Group]) -> None:
        """All that wait here; the first `MOST` are kept."""
        held = [[str(each.satellite_id), *each[1:]] for each in groups[:MOST]]
        await self._database.execute(_TELL, self._node_id, json.dumps(held))
