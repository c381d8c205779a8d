"""What people ask of a satellite. It is claimed when the call returns, and goes on by itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from uuid import UUID, uuid4

from torpor_provisioner.contract import SleepKind
from torpor_provisioner.errors import Gone, TorporError
from torpor_statemachine import clock
from torpor_statemachine.config import FleetConfig
from torpor_statemachine.errors import (
    BudgetReached,
    CannotChange,
    NameTaken,
    RequestReused,
    SatelliteBusy,
    SatelliteSuspended,
    UnknownProvisioner,
    UnknownSatellite,
    WrongState,
)
from torpor_statemachine.lifecycle.choices import (
    busy,
    to_sleep,
    to_terminate,
    to_wake,
    wrong_state,
)
from torpor_statemachine.lifecycle.machine import Event
from torpor_statemachine.lifecycle.policy import (
    ClaimWake,
    RequestWake,
    at_launch,
    changed,
    spec,
    spec_of_new,
)
from torpor_statemachine.lifecycle.satellite import Satellite
from torpor_statemachine.lifecycle.specs import Changes, NewSatellite
from torpor_statemachine.lifecycle.states import State
from torpor_statemachine.store.explaining import kept
from torpor_statemachine.store.keeping import Keeping
from torpor_statemachine.store.permits import Permits
from torpor_statemachine.store.queries import Queries
from torpor_statemachine.store.transitions import Transitions
from torpor_statemachine.work.clouds import CloudCalls
from torpor_statemachine.work.coordinator import Coordinator

logger = logging.getLogger(__name__)

Choice = Callable[[Satellite], Event | None]
ASKED = "asked"
_CHANGEABLE = (State.RUNNING, State.SLEEPING, State.ASLEEP, State.WAKING)


class Commands:
    def __init__(
        self,
        queries: Queries,
        transitions: Transitions,
        coordinator: Coordinator,
        clouds: Mapping[str, CloudCalls],
        config: FleetConfig,
        *,
        keeping: Keeping,
        permits: Permits,
    ) -> None:
        self._permits = permits
        self._queries = queries
        self._keeping = keeping
        self._transitions = transitions
        self._coordinator = coordinator
        self._clouds = clouds
        self._config = config

    async def get(self, satellite_id: UUID) -> Satellite:
        satellite = await self._queries.by_id(satellite_id)
        if satellite is None:
            raise UnknownSatellite
        return satellite

    async def launch(self, new: NewSatellite, actor: str) -> Satellite:
        """Make a satellite.

        Raises:
            NameTaken, UnknownProvisioner, RequestReused, BudgetReached, Invalid: nothing was made.
        """
        if (made := await self._made_before(new)) is not None:
            return made
        await self._permits.check_org(new.org_id)
        cloud = self._clouds.get(new.provisioner)
        if cloud is None:
            raise UnknownProvisioner(f"{new.provisioner!r}; they serve {sorted(self._clouds)}")
        by = self._transitions.by(actor, ASKED)
        new = at_launch(new, hibernate_arm64=self._config.hibernate_arm64)
        satellite_id = uuid4()
        await cloud.check(spec_of_new(new, satellite_id, await self._queries.org(new.org_id)))
        try:
            with self._transitions.asking(satellite_id):
                changed = await self._queries.launch(new, by, self._config.launch, satellite_id)
        except NameTaken:
            if (made := await self._made_before(new)) is not None:  # by the same request, just now
                return made
            raise
        self._coordinator.carry_out(changed, by)
        return changed.satellite

    async def _made_before(self, new: NewSatellite) -> Satellite | None:
        if not new.request_id:
            return None
        made = await self._queries.by_request(new.org_id, new.request_id)
        if made is not None and made.name != new.name:
            raise RequestReused(f"{new.request_id!r} has launched {made.full_name}")
        return made

    async def wake(self, satellite_id: UUID, actor: str) -> Satellite:
        """See to it that it is awake soon.

        Raises:
            BackingOff, WrongState, SatelliteSuspended, BudgetReached: it stays as it is.
        """
        satellite = await self.get(satellite_id)
        match to_wake(satellite):
            case None:
                return satellite
            case ClaimWake():
                await self._permits.check(satellite)
                await self._coordinator.wake(satellite, actor, ASKED)
            case RequestWake():
                await self._permits.check(satellite)
                await self._transitions.request_wake(satellite)
        return await self.get(satellite_id)

    async def of_org(self, org_id: UUID) -> list[Satellite]:
        """All of an org's, with what keeps each awake."""
        found = await self._queries.of_org(org_id)
        keepers = await self._keeping.of_org(org_id)
        return [
            kept(each, keepers.get(each.id, ())) if each.idle_since is None else each
            for each in found
        ]

    async def sleep(self, satellite_id: UUID, actor: str, *, force: bool) -> Satellite:
        """Put it to sleep, however short it has been idle.

        Raises:
            SatelliteBusy, WrongState: it stays as it is.
        """
        return await self._end_rest(satellite_id, actor, to_sleep, force=force)

    async def terminate(self, satellite_id: UUID, actor: str, *, force: bool) -> Satellite:
        """End its machine and its disk; by `force` also under open streams, or while launching.

        Raises:
            SatelliteBusy, WrongState: it stays as it is.
        """
        choose = partial(to_terminate, force=force)
        return await self._end_rest(satellite_id, actor, choose, force=force)

    async def _end_rest(
        self, satellite_id: UUID, actor: str, choose: Choice, *, force: bool
    ) -> Satellite:
        """A lease outlives its last stream by a moment, on any node: that long, try again."""
        by = self._transitions.by(actor, "forced" if force else ASKED)
        end = clock.now() + self._config.linger + self._config.poll
        while True:
            satellite = await self.get(satellite_id)
            if (event := choose(satellite)) is None:
                return satellite
            self._coordinator.cloud(satellite)
            last = clock.now() > end
            changed = await self._transitions.begin(event, satellite, by, force=force)
            if changed is not None:
                after = self._config.farewell if force else 0.0
                self._coordinator.carry_out(changed, by, after=after)
                return changed.satellite
            if last:
                raise busy(satellite, await self._keeping.of(satellite_id))
            await asyncio.sleep(self._config.poll / 4)

    async def update(self, satellite_id: UUID, changes: Changes, actor: str) -> Satellite:
        """Change what is asked of it. What reaches the machine is done as soon as that is
        stopped: one that is idle is stopped for it, one that is hibernated woken and stopped;
        under open streams it waits for the next sleep. A failed satellite's next machine is made
        so.

        Raises:
            WrongState, CannotChange, Invalid: nothing was changed.
        """
        if changes.of_machine:
            await self._change_machine(satellite_id, changes, actor)
        if changes.of_policy:
            await self._queries.change(satellite_id, changes, actor)
        return await self.get(satellite_id)

    async def _change_machine(self, satellite_id: UUID, changes: Changes, actor: str) -> None:
        while True:
            satellite = await self.get(satellite_id)
            cloud = self._coordinator.cloud(satellite)
            failed = satellite.state is State.FAILED
            if not failed and satellite.state not in _CHANGEABLE:
                raise wrong_state(satellite)
            if not failed and not cloud.can_change:
                raise CannotChange(satellite.provisioner)
            wanted = changed(satellite, changes, actor)
            await cloud.check(spec(replace(satellite, wanted=wanted)))
            if failed:
                by = self._transitions.by(actor, ASKED)
                done = await self._transitions.correct(satellite, wanted, by)
                if done is not None:
                    self._coordinator.announce(done)
                    return
            elif await self._transitions.want(satellite, wanted):
                await self._stop_for(replace(satellite, wanted=wanted), actor)
                return

    async def _stop_for(self, satellite: Satellite, actor: str) -> None:
        """Begin the change, if nobody uses the machine."""
        if satellite.state is State.ASLEEP:
            if satellite.sleep_kind is SleepKind.HIBERNATED:  # it is woken for it
                try:
                    await self._permits.check(satellite)
                except (BudgetReached, SatelliteSuspended):
                    return  # it is kept until it may be woken, as `why` says
            await self._coordinator.change(satellite)
        elif satellite.state is State.RUNNING:
            try:
                await self.sleep(satellite.id, actor, force=False)
            except (SatelliteBusy, WrongState):
                return  # it is kept for the next sleep

    async def repair(self, satellite_id: UUID, actor: str) -> Satellite:
        """Launch a new machine for one that has failed. What is left of the old one is ended
        first; should that fail, the reconciler ends it as an orphan.

        Raises:
            WrongState: it has not failed.
        """
        satellite = await self.get(satellite_id)
        if satellite.state is not State.FAILED:
            raise wrong_state(satellite)
        await self._permits.check(satellite)
        # Nobody wants the machine of a satellite that has failed, whichever node wins the claim
        await _end_old(self._coordinator.cloud(satellite), satellite)
        by = self._transitions.by(actor, ASKED)
        changed = await self._transitions.repair(satellite, by)
        if changed is None:
            raise WrongState(f"{satellite.full_name} has just changed")
        self._coordinator.carry_out(changed, by)
        return changed.satellite


async def _end_old(cloud: CloudCalls, satellite: Satellite) -> None:
    ref = satellite.ref
    if ref is None:
        return
    try:
        await cloud.call("terminate", lambda made: made.terminate(ref), satellite=satellite)
    except Gone:
        return
    except TorporError as error:
        logger.warning("what is left of %s is ended as an orphan: %s", ref, error)
