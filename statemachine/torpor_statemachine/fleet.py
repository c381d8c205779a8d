"""The lifecycle of all satellites as one node sees it: the facade for the door and the commands.

Streams come and go through `enter`, `admit` and `leave` (see `gate`); people through the rest.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from pathlib import Path
from uuid import UUID, uuid4

from torpor_provisioner import identity
from torpor_provisioner.contract import Provisioner
from torpor_statemachine import clock
from torpor_statemachine.commands import Commands
from torpor_statemachine.config import FleetConfig
from torpor_statemachine.events import Observer, Unobserved
from torpor_statemachine.gate import Admitted, Outlook
from torpor_statemachine.lifecycle.departure import Departure
from torpor_statemachine.lifecycle.satellite import Satellite, Transition
from torpor_statemachine.lifecycle.specs import Changes, NewSatellite
from torpor_statemachine.lifecycle.states import State
from torpor_statemachine.node.heartbeat import Node
from torpor_statemachine.node.lease_keeper import LeaseKeeper
from torpor_statemachine.node.marks import Marks
from torpor_statemachine.node.stream_reports import KeptAwake, Look, StreamReporter
from torpor_statemachine.node.traffic import Traffic
from torpor_statemachine.postgres.pool import Database, DatabaseAway
from torpor_statemachine.store.duties import Duties
from torpor_statemachine.store.explaining import Explaining
from torpor_statemachine.store.holds import Holds
from torpor_statemachine.store.idle import Idle
from torpor_statemachine.store.instants import Instants
from torpor_statemachine.store.keeping import Keeping
from torpor_statemachine.store.leases import Leases
from torpor_statemachine.store.nodes import NodeReport, Nodes
from torpor_statemachine.store.pauses import Pauses
from torpor_statemachine.store.permits import Permits
from torpor_statemachine.store.pruning import Pruning
from torpor_statemachine.store.queries import Queries
from torpor_statemachine.store.rounds import Rounds
from torpor_statemachine.store.runaways import Runaways
from torpor_statemachine.store.schedules import Schedules
from torpor_statemachine.store.strays import Strays
from torpor_statemachine.store.transitions import Transitions
from torpor_statemachine.store.turns import Turns
from torpor_statemachine.store.usage import Usage
from torpor_statemachine.switchboard import Switchboard
from torpor_statemachine.upkeep.orphans import Orphans
from torpor_statemachine.upkeep.pruner import Pruner
from torpor_statemachine.upkeep.reaper import Reaper
from torpor_statemachine.upkeep.reconciler import Reconciler
from torpor_statemachine.upkeep.runaways import RunawayWatch
from torpor_statemachine.upkeep.suspects import Suspects
from torpor_statemachine.waiting.hold_reports import HoldReporter
from torpor_statemachine.waiting.notifier import Notifier
from torpor_statemachine.waiting.pg_listener import PgListener
from torpor_statemachine.waiting.waiters import Waiters
from torpor_statemachine.work.claimed_work import Identify, Probe, WorkContext
from torpor_statemachine.work.clouds import CloudCalls
from torpor_statemachine.work.coordinator import Coordinator

logger = logging.getLogger(__name__)

Satellites = list[Satellite]  # `list` is a method's name below
History = list[Transition]


class Fleet:
    """Implements `gate.Gate`. It is started, used and closed on one loop.

    Nodes of one machine that share a `folder` know of each other's death (see `node.marks`).
    """

    def __init__(
        self,
        database: Database,
        provisioners: Mapping[str, Provisioner],
        *,
        probe: Probe,
        identify: Identify = identity.read,
        config: FleetConfig | None = None,
        observer: Observer | None = None,
        folder: Path | None = None,
    ) -> None:
        self.node_id = uuid4()
        self._database = database
        self._config = config = config or FleetConfig()
        observer = observer or Unobserved()
        self._marks = Marks(folder) if folder is not None else None
        self._notifier = Notifier()
        self._switchboard = switchboard = Switchboard(observer, self._notifier)
        self._queries = Queries(database)
        self._nodes = Nodes(database.vital, config, self.node_id, provisioners)
        clouds = {
            name: CloudCalls(name, each, config, observer) for name, each in provisioners.items()
        }
        leases, duties = Leases(database, self.node_id), Duties(database, config)
        self._node = Node(
            self.node_id,
            self._nodes,
            config,
            observer,
            confirmed=switchboard.confirmed,
            renamed=switchboard.renamed,
            set_forth=switchboard.set_forth,
        )
        self._transitions = Transitions(database, config, self.node_id, self._node.latest)
        self._lease_keeper = LeaseKeeper(
            leases, self._node, config.linger, self._transitions.request_wake
        )
        context = WorkContext(
            self._transitions, self._node, probe, identify, config, observer, switchboard.on_changed
        )
        self._coordinator = Coordinator(self.node_id, clouds, context)
        permits = Permits(database)
        self._waiters = Waiters(
            self._lease_keeper.book,
            self._notifier,
            config.poll,
            config.database_budget,
            take=self._lease_keeper.take,
            wake=self._coordinator.wake,
            request_wake=self._transitions.request_wake,
            prove=self._prove,
            may_wake=permits.check,
        )
        keeping = Keeping(database, config, self.node_id)
        self._reporter = StreamReporter(
            keeping, self._lease_keeper.book, self._node, config.heartbeat
        )
        self._explaining = Explaining(self._queries, keeping, Pauses(database), permits)
        self._commands = Commands(
            self._queries,
            self._transitions,
            self._coordinator,
            clouds,
            config,
            keeping=keeping,
            permits=permits,
        )
        switchboard.connect(self._lease_keeper, self._coordinator, self._commands.get)
        self._reaper = Reaper(
            Idle(database, config, self._transitions),
            self._coordinator,
            provisioners,
            config,
            settled_server=self._node.settled_server,
            living=self._node.living,
        )
        turns = Turns(database)
        self._reconciler = Reconciler(
            duties,
            self._transitions,
            leases,
            Orphans(turns, duties, Strays(database), config),
            self._coordinator,
            instants=Instants(database, config),
            clouds=clouds,
            rounds=Rounds(database, config, self.node_id),
            schedules=Schedules(database),
            config=config,
            judges=self._node.judges,
            latest=self._node.latest,
            living=self._node.living,
            on_changed=switchboard.on_changed,
        )
        self._suspects = Suspects(self._commands.get, self._reconciler.look_at, config.poll)
        self._listener = PgListener(database, switchboard.heard, self._notifier.notify_all)
        self._holds = HoldReporter(Holds(database, self.node_id), self._waiters.held)
        self._traffic = Traffic(Usage(database), self.node_id, config.count)
        self._pruner = Pruner(turns, Pruning(database), config)
        self._runaways = RunawayWatch(turns, Runaways(database), self._suspend)
        self._loops: list[asyncio.Task[None]] = []

    def __repr__(self) -> str:
        return f"<Fleet {self._node!r}, {self._lease_keeper!r}, {self._coordinator!r}>"

    # --- Life

    async def start(self) -> None:
        """Begin to take part.

        Raises:
            DatabaseAway: there is nobody to take part with.
        """
        if self._marks is not None:
            self._marks.set(self.node_id)
        await self._node.register()
        self._go_on("heartbeat", self._node.beat_for_ever())
        self._go_on("reaper", self._reaper.reap_for_ever())
        self._go_on("reconciler", self._reconciler.run())
        self._go_on("streams", self._reporter.report_for_ever())
        self._go_on("holds", self._holds.report_for_ever())
        self._go_on("traffic", self._traffic.flush_for_ever())
        self._go_on("pruner", self._pruner.prune_for_ever())
        self._go_on("runaways", self._runaways.watch_for_ever())
        if self._marks is not None:
            self._go_on("marks", self._marks.bury_for_ever(self._nodes.bury, self._config.poll))
        if not self._database.poll_only:
            self._go_on("listener", self._listener.listen_for_ever())

    def _go_on(self, name: str, duty: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(duty, name=name)
        task.add_done_callback(_must_go_on)
        self._loops.append(task)

    async def aclose(self) -> None:
        """Leave: whatever is left to do, another node may do at once."""
        await _cancelled(*self._loops)
        await self._switchboard.aclose()
        await self._suspects.aclose()
        await self._waiters.aclose()
        await self._coordinator.aclose()
        await self._lease_keeper.aclose()
        try:
            await self._traffic.flush()
            await self._nodes.leave()
            left = True
        except DatabaseAway:
            logger.warning("left without a word: the database does not answer")
            left = False
        if self._marks is not None:
            self._marks.end(left=left)

    # --- The gate

    def enter(self, satellite_id: UUID) -> Admitted | None:
        admitted = self._lease_keeper.book.enter(satellite_id)
        if admitted is not None:
            self._traffic.came(satellite_id)
        return admitted

    async def admit(self, satellite_id: UUID, *, actor: str, budget: float) -> Admitted:
        with self._traffic.holding(satellite_id):
            return await self._waiters.admit(satellite_id, actor, budget)

    def running_now(self, satellite_id: UUID) -> Admitted | None:
        return self._lease_keeper.book.glance(satellite_id)

    async def running(self, satellite_id: UUID) -> Admitted | None:
        return await self._queries.running(satellite_id)

    async def _prove(self, satellite: Satellite) -> bool:
        return await self._reconciler.prove(satellite)

    def outlook(self, satellite_id: UUID) -> Outlook | None:
        return self._waiters.outlook(satellite_id)

    def leave(self, satellite_id: UUID) -> None:
        self._lease_keeper.book.leave(satellite_id)

    def suspect(self, satellite_id: UUID) -> None:
        self._suspects.suspect(satellite_id)

    def on_sleep(self, callback: Callable[[Departure], None]) -> None:
        self._lease_keeper.on_sleep(callback)

    def look_at_streams(self, look: Look) -> None:
        """Have `look` asked, with each heartbeat, whose streams are open on a satellite."""
        self._reporter.look = look

    @property
    def kept_awake(self) -> KeptAwake:
        return self._reporter.kept_awake

    def living(self) -> int:
        """How many nodes there are, by this one's last heartbeat."""
        return self._node.living()

    # --- What operators see of this node, and want of it

    def tells(self, report: Callable[[], NodeReport], drain: Callable[[str], None]) -> None:
        """Tell `report()` with each heartbeat; call `drain` ("drain", or "end" its process too)
        with each while an operator wants it."""
        self._node.tells(report, drain)

    # --- What people ask for (see `commands`)

    async def launch(self, new: NewSatellite, *, actor: str) -> Satellite:
        return await self._commands.launch(new, actor)

    async def wake(self, satellite_id: UUID, *, actor: str) -> Satellite:
        return await self._commands.wake(satellite_id, actor)

    async def sleep(self, satellite_id: UUID, *, actor: str, force: bool = False) -> Satellite:
        return await self._commands.sleep(satellite_id, actor, force=force)

    async def _suspend(self, satellite_id: UUID) -> Satellite:
        return await self._commands.sleep(satellite_id, "runaway alarm", force=True)

    async def terminate(self, satellite_id: UUID, *, actor: str, force: bool = False) -> Satellite:
        return await self._commands.terminate(satellite_id, actor, force=force)

    async def update(self, satellite_id: UUID, changes: Changes, *, actor: str) -> Satellite:
        return await self._commands.update(satellite_id, changes, actor)

    async def repair(self, satellite_id: UUID, *, actor: str) -> Satellite:
        return await self._commands.repair(satellite_id, actor)

    # --- What people read

    async def find(self, org_id: UUID, name: str) -> Satellite | None:
        return await self._explaining.find(org_id, name)

    async def list(self, org_id: UUID) -> Satellites:
        return await self._commands.of_org(org_id)

    async def history(self, satellite_id: UUID, limit: int) -> History:
        """The newest first."""
        return await self._queries.history(satellite_id, limit)

    async def follow(self, satellite_id: UUID) -> AsyncIterator[Satellite]:
        """The satellite now and after each change, until it is terminated.

        Raises:
            UnknownSatellite: there is none.
        """
        before: object = None
        with self._notifier.subscribe(satellite_id) as subscription:
            while True:
                subscription.clear()
                satellite = await self._commands.get(satellite_id)
                now = (
                    satellite.epoch,
                    satellite.state,
                    satellite.failure,
                    satellite.obstacle,
                    satellite.wake_requested,
                    satellite.wanted,
                )
                if now != before:
                    before = now
                    yield satellite
                if satellite.state is State.TERMINATED:
                    return
                await subscription.wait(clock.jittered(self._config.poll))


def _must_go_on(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.critical(
            "%s has ended; this node must be restarted", task.get_name(), exc_info=error
        )


async def _cancelled(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
