"""Takes up what was left undone, and makes the database agree with the cloud again.

Every node runs one. It looks for claims whose node is dead or late, for wakes that were asked for
and not begun, for dead nodes' leases, for satellites whose machine is not as it was left, and (one
node for all) for machines that belong to no satellite (`orphans`).
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager

from torpor_provisioner.contract import MachineState, Observed, SleepKind
from torpor_provisioner.errors import Gone, TorporError
from torpor_statemachine import clock
from torpor_statemachine.config import FleetConfig
from torpor_statemachine.errors import LimitReached
from torpor_statemachine.lifecycle.machine import Event
from torpor_statemachine.lifecycle.policy import Drift, drift
from torpor_statemachine.lifecycle.satellite import Satellite
from torpor_statemachine.lifecycle.states import State
from torpor_statemachine.postgres.pool import DatabaseAway
from torpor_statemachine.store.changes import Changed
from torpor_statemachine.store.duties import Duties
from torpor_statemachine.store.instants import Instants
from torpor_statemachine.store.leases import Leases
from torpor_statemachine.store.rounds import Rounds
from torpor_statemachine.store.schedules import Schedules
from torpor_statemachine.store.transitions import Transitions
from torpor_statemachine.upkeep.orphans import Orphans
from torpor_statemachine.upkeep.pace import pace
from torpor_statemachine.upkeep.side_by_side import side_by_side
from torpor_statemachine.work.clouds import CloudCalls
from torpor_statemachine.work.coordinator import Coordinator

logger = logging.getLogger(__name__)

ACTOR = "reconciler"


class Reconciler:
    def __init__(
        self,
        duties: Duties,
        transitions: Transitions,
        leases: Leases,
        orphans: Orphans,
        coordinator: Coordinator,
        *,
        instants: Instants,
        clouds: Mapping[str, CloudCalls],
        rounds: Rounds,
        schedules: Schedules,
        config: FleetConfig,
        judges: Callable[[], bool],
        latest: Callable[[], float],
        living: Callable[[], int],
        on_changed: Callable[[Changed], None],
    ) -> None:
        self._duties = duties
        self._transitions = transitions
        self._leases = leases
        self._orphans = orphans
        self._coordinator = coordinator
        self._instants = instants
        self._clouds = clouds
        self._rounds = rounds
        self._schedules = schedules
        self._judges = judges
        self._latest = latest
        self._living = living
        self._config = config
        self._on_changed = on_changed

    async def run(self) -> None:
        """Every duty at its own pace, for ever."""
        async with asyncio.TaskGroup() as group:
            for duty, every in (
                (self.look, self._config.poll),
                (self.sweep, self._config.claims_live),
            ):
                group.create_task(self._for_ever(duty, every, shared=True))
            group.create_task(self._for_ever(self.check, self._config.poll))
            group.create_task(self._for_ever(self.orphans_in_turn, self._config.orphans))

    async def _for_ever(
        self, duty: Callable[[], Awaitable[object]], every: float, *, shared: bool = False
    ) -> None:
        """`shared`: what one node of many finds in time is enough."""
        while True:
            await asyncio.sleep(clock.jittered(pace(every, self._living() if shared else 1)))
            await _once(duty)

    async def look(self) -> None:
        """See what there is to do, and do it."""
        there = await self._duties.something()
        found = (
            (there.under_way, self.take_over),
            (there.scheduled, self._schedules.follow),
            (there.wanted, self.wake_wanted),
            (there.unchanged, self.change_wanted),
        )
        await asyncio.gather(*(_once(duty) for is_there, duty in found if is_there))

    async def take_over(self) -> None:
        """Go on with transitions whose node is dead or late."""
        # Who missed a heartbeat tries again at once: one pace of it is enough for the living
        grace = self._config.heartbeat
        undone = await self._duties.undone(
            *(self._clouds, grace), judges=self._judges(), latest=self._latest()
        )
        random.shuffle(undone)  # other nodes have found the same

        async def take_over(satellite: Satellite) -> None:
            late = satellite.claim_left <= 0
            why = "its deadline has passed" if late else "its node has died"
            await self._coordinator.take_over(satellite, why)

        await side_by_side(undone, take_over)

    async def wake_wanted(self) -> None:
        """Wake what was asked for while it fell asleep, if who put it to sleep did not, and what
        is to be awake by its schedule."""

        async def wake(satellite: Satellite) -> None:
            if satellite.awake_until is not None:
                await self._wake(satellite, satellite.schedule, by="schedule")
            else:
                await self._wake(satellite, "wanted while it fell asleep")

        await side_by_side(await self._duties.wanted(self._clouds), wake)

    async def change_wanted(self) -> None:
        """Make the changes that were asked for, of machines that are stopped by now."""

        async def change(satellite: Satellite) -> None:
            async with self._within_limits(satellite):
                await self._coordinator.change(satellite)

        await side_by_side(await self._duties.unchanged(self._clouds), change)

    async def _wake(
        self, satellite: Satellite, why: str, *, by: str = ACTOR, stops_next: bool = False
    ) -> None:
        async with self._within_limits(satellite):
            await self._coordinator.wake(satellite, by, why, stops_next=stops_next)

    @asynccontextmanager
    async def _within_limits(self, satellite: Satellite) -> AsyncIterator[None]:
        """A wake that a limit forbids is tried again later, and says so until then."""
        try:
            yield
        except LimitReached as limit:
            await self._transitions.limited(satellite, limit)

    async def sweep(self) -> None:
        """Forget dead nodes, and start the idle clock of their satellites; and bring back what
        the database's clock, set back, has moved away."""
        await self._instants.correct()
        await self._leases.sweep(self._config.leases_live, self._config.claims_live, self._latest())

    # --- Drift

    async def check(self) -> None:
        """Compare satellites at rest with their machines."""
        await asyncio.gather(*(self._check(cloud) for cloud in self._clouds.values()))

    async def _check(self, cloud: CloudCalls) -> None:
        if resting := await self._rounds.batch(cloud.name):
            await self._compare(cloud, resting)

    async def look_at(self, satellite: Satellite) -> None:
        """Compare one satellite with its machine now, if it rests and has done so for a while."""
        cloud = self._clouds.get(satellite.provisioner)
        rests = satellite.state in (State.RUNNING, State.ASLEEP) and satellite.claimed_by is None
        settled = satellite.state_age > self._config.cloud_lag
        if cloud is not None and satellite.ref is not None and rests and settled:
            await self._compare(cloud, [satellite])

    async def prove(self, satellite: Satellite) -> bool:
        """Compare one that runs with its machine, and keep that they agree or mend it; False: the
        cloud does not say.

        Raises:
            UnknownProvisioner: this node does not serve it.
        """
        cloud, ref = self._coordinator.cloud(satellite), satellite.ref
        assert ref is not None
        try:
            seen = await cloud.call("observe", lambda made: made.observe([ref]))
        except TorporError as error:
            logger.warning("%r could not be compared with its machine: %s", satellite, error)
            return False
        found = drift(satellite, seen[ref])
        if found is not None and satellite.state_age <= self._config.cloud_lag:
            return False  # the cloud may be late with its news
        if found is not None:
            await self._repair(satellite, found)
        elif seen[ref].state is MachineState.RUNNING:
            await self._transitions.proved(satellite)
        else:
            return False
        return True

    async def _compare(self, cloud: CloudCalls, satellites: list[Satellite]) -> None:
        with _logged_failures(cloud.name):
            refs = [satellite.ref for satellite in satellites if satellite.ref is not None]
            seen = await cloud.call("observe", lambda made: made.observe(refs))
            for satellite in satellites:
                try:
                    await self._mend(cloud, satellite, seen)
                except TorporError:
                    raise
                except Exception:  # the others are not to pay for what is odd about one
                    logger.exception("%r could not be compared with its machine", satellite)

    async def _mend(
        self, cloud: CloudCalls, satellite: Satellite, seen: Mapping[str, Observed]
    ) -> None:
        assert satellite.ref is not None
        found = drift(satellite, seen[satellite.ref])
        if found is not None:
            await self._repair(satellite, found)
        elif _forgets_soon(cloud, satellite):
            why = "hibernated for as long as it may; to be stopped"
            await self._wake(satellite, why, stops_next=True)
        elif cloud.renews_hibernation and satellite.memory_expired:
            await self._wake(satellite, "stopped; to hibernate anew")

    async def _repair(self, satellite: Satellite, found: Drift) -> None:
        changed = await self._write(satellite, found.event, found.seen)
        if changed is not None:
            logger.warning("%r was not so: %s", satellite, found.event)
            self._on_changed(changed)

    async def _write(self, satellite: Satellite, event: Event, seen: Observed) -> Changed | None:
        by = self._transitions.by(ACTOR, "the cloud shows it so")
        match event:
            case Event.FOUND_ASLEEP:
                how = seen.sleep_kind or SleepKind.STOPPED
                return await self._transitions.found_asleep(satellite, by, how, seen.detail)
            case Event.FOUND_RUNNING | Event.MOVED:
                assert seen.address is not None
                return await self._transitions.found_at(satellite, by, event, seen.address)
            case _:
                return await self._transitions.lost(satellite, by, Gone(seen.detail))

    # --- Orphans

    async def end_orphans(self, pause: float = 0.0) -> None:
        """End machines that belong to no satellite, in each cloud whose turn it is."""
        await asyncio.gather(*(self._end_orphans(cloud, pause) for cloud in self._clouds.values()))

    async def _end_orphans(self, cloud: CloudCalls, pause: float) -> None:
        with _logged_failures(cloud.name):
            await self._orphans.end(cloud, pause)

    async def orphans_in_turn(self) -> None:
        """The same, by one node of the fleet."""
        await self.end_orphans(self._config.orphans / 2)


async def _once(duty: Callable[[], Awaitable[object]]) -> None:
    """What fails is tried again at its next time."""
    try:
        await duty()
    except DatabaseAway:
        pass  # told by the heartbeat
    except TorporError as error:
        logger.warning("%s failed: %s", duty.__name__, error)
    except Exception:
        logger.exception("%s failed", duty.__name__)


@contextmanager
def _logged_failures(name: str) -> Iterator[None]:
    """One provisioner that fails keeps nobody from looking at the others."""
    try:
        yield
    except DatabaseAway:
        raise
    except TorporError as error:
        logger.warning("the machines of %s were not looked at: %s", name, error)
    except Exception:
        logger.exception("the machines of %s were not looked at", name)


def _forgets_soon(cloud: CloudCalls, satellite: Satellite) -> bool:
    if satellite.state is not State.ASLEEP or satellite.sleep_kind is not SleepKind.HIBERNATED:
        return False
    kept = cloud.longest_hibernation
    return kept is not None and satellite.state_age > kept.total_seconds()
