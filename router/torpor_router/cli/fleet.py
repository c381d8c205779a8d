"""`torpor fleet`: every org's satellites, straight from the database."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

import click

from torpor_router.cli.output import Column, Output, ago, with_output
from torpor_router.cli.storage import Storage, with_storage
from torpor_router.cli.strays import adopt, end, strays

if TYPE_CHECKING:
    from torpor_statemachine.postgres.pool import Database

# A node's leases count as long as it says so itself.
_FLEET = """
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
_STATES = (
    *("launching", "running", "sleeping", "asleep", "waking", "updating"),
    *("failed", "terminating", "terminated"),
)


@dataclass(frozen=True, slots=True)
class FleetRow:
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


@click.group()
def fleet() -> None:
    """Look at every org's satellites; 'satellite' is for those who own them."""


@fleet.command()
@click.option("--org", help="Of this org only.")
@click.option("--state", type=click.Choice(_STATES), help="In this state only.")
@click.option("--all", "all_", is_flag=True, help="The terminated ones, too.")
@with_storage
@with_output
def ls(*, org: str | None, state: str | None, all_: bool, output: Output, storage: Storage) -> None:
    """List satellites, with the nodes that have to do with each and its last failure."""

    async def work(database: Database) -> list[FleetRow]:
        rows = await database.fetch(_FLEET, all_ or state == "terminated", org, state)
        return [FleetRow(**row) for row in rows]

    satellites = storage.run(work)
    if output.as_json:
        output.json(satellites)
        return
    output.table(
        [
            "satellite",
            "state",
            "for",
            "asleep as",
            "provisioner",
            "nodes",
            Column("failure", wraps=True),
        ],
        [
            (
                *(each.name, each.state, ago(each.state_since, each.seen_at), each.sleep_kind),
                *(each.provisioner, each.nodes, _told(each.failure)),
            )
            for each in satellites
        ],
        empty="There are no such satellites.",
    )


for command in (strays, adopt, end):
    fleet.add_command(command)


def _told(failure: str | None) -> str:
    if failure is None:
        return ""
    from torpor_statemachine.errors import in_short

    return in_short(failure)
