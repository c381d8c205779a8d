"""Every org's satellites, as operators see them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from torpor_statemachine.lifecycle.states import State
from torpor_statemachine.postgres.pool import Database

# A node's leases count as long as it says so itself
_LISTED = """
select satellites.id, orgs.name || '/' || satellites.name as name, satellites.state,
       satellites.state_since, satellites.provisioner, satellites.sleep_kind,
       satellites.idle_since, satellites.failure, satellites.claimed_by, now() as seen_at,
       array(select leases.node_id
               from leases join nodes on nodes.id = leases.node_id
              where leases.satellite_id = satellites.id and nodes.leases_until > now()
              order by leases.taken_at) as leased_by
  from satellites join orgs on orgs.id = satellites.org_id
 where (satellites.state <> 'terminated' or $1)
   and ($2::text is null or orgs.name = $2)
   and ($3::text is null or satellites.state = $3)
 order by orgs.name, satellites.name, satellites.created_at
"""


@dataclass(frozen=True, slots=True)
class Listed:
    """A satellite as `torpor fleet ls` tells it. Times are the database's, `seen_at` is now.

    `claimed_by` is the node that carries out a transition, `leased_by` those with open streams.
    """

    id: UUID
    name: str
    state: str
    state_since: datetime
    provisioner: str
    sleep_kind: str | None
    idle_since: datetime | None
    failure: str | None
    claimed_by: UUID | None
    leased_by: list[UUID]
    seen_at: datetime

    @property
    def nodes(self) -> str:
        """The nodes that have to do with it, each by the beginning of its id."""
        nodes = dict.fromkeys([*([self.claimed_by] if self.claimed_by else []), *self.leased_by])
        return " ".join(str(node)[:8] for node in nodes)


async def listed(
    database: Database, *, org: str | None, state: str | None, terminated: bool
) -> list[Listed]:
    """Of `org` only, or in `state` only; the `terminated` ones, too."""
    terminated = terminated or state == State.TERMINATED
    return [Listed(**row) for row in await database.fetch(_LISTED, terminated, org, state)]
