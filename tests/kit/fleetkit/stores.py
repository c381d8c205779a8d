"""One node's way to the database, without the node."""

from __future__ import annotations

from uuid import UUID

from fleetkit.writes import CLAIMS, COMPLETIONS

from torpor_statemachine.config import FleetConfig
from torpor_statemachine.lifecycle.machine import Event
from torpor_statemachine.lifecycle.satellite import Satellite
from torpor_statemachine.postgres.pool import Database
from torpor_statemachine.store.changes import Attribution, Changed
from torpor_statemachine.store.idle import Idle
from torpor_statemachine.store.leases import Leases
from torpor_statemachine.store.nodes import Nodes
from torpor_statemachine.store.transitions import Transitions


class Store:
    def __init__(self, database: Database, config: FleetConfig, node_id: UUID) -> None:
        self._database = database
        self.transitions = Transitions(database, config, node_id)
        self.leases = Leases(database, node_id)
        self.nodes = Nodes(database.vital, config, node_id)
        self.idle = Idle(database, config, self.transitions)

    async def reap(self) -> list[tuple[Changed, Attribution]]:
        """Claim for sleep what is due."""
        server = await self._database.fetchval("select pg_postmaster_start_time()")
        return await self.idle.claim(["cloud"], 50, server)

    async def change(self, event: Event, seen: Satellite) -> Changed | None:
        write = CLAIMS.get(event) or COMPLETIONS[event]
        return await write(self.transitions, seen, self.transitions.by("a", "b"))
