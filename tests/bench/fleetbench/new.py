"""What a fleet at rest asks today, by the product's own store."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from uuid import UUID, uuid4

from fleetbench.duty import Duty
from fleetbench.listing import Listing
from fleetbench.rows import ADDRESS, CLOUD, SCRAPE

from torpor_statemachine.config import FleetConfig
from torpor_statemachine.events import Unobserved
from torpor_statemachine.postgres.pool import Database
from torpor_statemachine.store.census import Counting
from torpor_statemachine.store.duties import Duties
from torpor_statemachine.store.idle import Idle
from torpor_statemachine.store.leases import Leases
from torpor_statemachine.store.nodes import Nodes
from torpor_statemachine.store.rounds import BATCH, Rounds
from torpor_statemachine.store.strays import Strays
from torpor_statemachine.store.transitions import Transitions
from torpor_statemachine.store.turns import Turns
from torpor_statemachine.upkeep.orphans import Orphans
from torpor_statemachine.upkeep.pace import pace
from torpor_statemachine.waiting.pg_listener import CHANNEL, LISTENS, PROVE_EVERY
from torpor_statemachine.work.clouds import CloudCalls

CONFIG = FleetConfig()
AUTOVACUUM, CHECKPOINT = 60.0, 300.0  # seconds between two, as Postgres comes
_HOUR = 3600.0
# Nobody's time ends while a duty is measured by itself, and a round begins when it is called
_LONG_CLAIMS = replace(CONFIG, claims_live=_HOUR, leases_live=_HOUR, reconcile=1e-9, looks=1e12)


class _Process:
    def __init__(self, database: Database) -> None:
        node_id = uuid4()
        self.nodes = Nodes(database.vital, _LONG_CLAIMS, node_id, [CLOUD])
        self.leases = Leases(database, node_id)
        self.duties = Duties(database, _LONG_CLAIMS)
        self.idle = Idle(database, _LONG_CLAIMS, Transitions(database, _LONG_CLAIMS, node_id))
        self.rounds = Rounds(database, _LONG_CLAIMS, node_id)
        strays = Strays(database)
        self.orphans = Orphans(Turns(database), self.duties, strays, _LONG_CLAIMS)
        self.counting = Counting(database)
        self.term = 0


class NewFleet:
    """So many processes of it over a pool, which they share here."""

    def __init__(
        self, database: Database, satellites: int, machines: Mapping[str, tuple[UUID, int]]
    ) -> None:
        self._database = database
        self._satellites = satellites
        cloud = Listing(machines, ADDRESS)
        self._cloud = CloudCalls(CLOUD, cloud, CONFIG, Unobserved())
        self._processes: list[_Process] = []
        self._server: datetime | None = None
        self._alone = asyncio.Lock()

    async def start(self, processes: int) -> None:
        for _ in range(processes):
            process = _Process(self._database)
            process.term = await process.nodes.register()
            standing = await process.nodes.renew(process.term)
            assert standing is not None
            self._server = standing.server
            self._processes.append(process)

    @property
    def duties(self) -> list[Duty]:
        processes = len(self._processes)
        batches = self._satellites / processes // BATCH + 1  # of a process's share in a round
        every = max(CONFIG.reconcile, self._satellites / CONFIG.looks)
        return [
            Duty("heartbeat", processes / CONFIG.heartbeat, self._beat),
            Duty("something to do", processes / pace(CONFIG.poll, processes), self._look),
            Duty("idle satellites", processes / pace(CONFIG.reap, processes), self._reap),
            Duty("dead nodes", processes / pace(CONFIG.claims_live, processes), self._sweep),
            Duty("looks at satellites", processes * batches / every, self._check),
            Duty("orphans", 2 / CONFIG.orphans, self._orphans),
            Duty("orphans, whose turn", processes / CONFIG.orphans, self._turn),
            Duty("metrics", processes / SCRAPE, self._scrape),
            Duty("listening, proved", processes / PROVE_EVERY, self._prove),
            Duty("autovacuum of heartbeats", 1 / AUTOVACUUM, self._vacuum),
            Duty("heartbeats after a checkpoint", 1 / CHECKPOINT, self._beat_again),
        ]

    async def _beat(self, n: int) -> None:
        await self._processes[n].nodes.renew(self._processes[n].term)

    async def _look(self, n: int) -> None:
        await self._processes[n].duties.something()

    async def _reap(self, n: int) -> None:
        assert self._server is not None
        await self._processes[n].idle.claim([CLOUD], CONFIG.reap_batch, self._server)

    async def _sweep(self, n: int) -> None:
        await self._processes[n].leases.sweep(CONFIG.leases_live, CONFIG.claims_live)

    async def _check(self, n: int) -> None:
        await self._processes[n].rounds.batch(CLOUD)

    async def _orphans(self, n: int) -> None:
        await self._processes[n].orphans.end(self._cloud, 0.0)

    async def _turn(self, n: int) -> None:
        await self._processes[n].orphans.end(self._cloud, CONFIG.orphans)

    async def _scrape(self, n: int) -> None:
        await self._processes[n].counting.counts()

    async def _prove(self, _: int) -> None:
        await self._database.fetchval(LISTENS, CHANNEL)

    async def _vacuum(self, _: int) -> None:
        """No other table changes so much that it would be vacuumed."""
        async with self._alone:
            await self._database.execute("vacuum analyze nodes")

    async def _beat_again(self, _: int) -> None:
        """The first write of a page after a checkpoint logs all of the page."""
        async with self._alone:
            await self._database.execute("checkpoint")
            for process in range(len(self._processes)):
                await self._beat(process)
