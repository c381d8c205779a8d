"""What an operator asks of satellites from a shell, beside the database and without a node.

Each is a claim in the name of a node that lives, whose deadline is over at once: any node takes it
over within a few seconds, as it does where one broke right after its claim.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from uuid import UUID

from torpor_statemachine.config import FleetConfig
from torpor_statemachine.errors import UnknownSatellite
from torpor_statemachine.lifecycle.choices import busy, to_sleep, to_terminate, to_wake
from torpor_statemachine.lifecycle.machine import Event
from torpor_statemachine.lifecycle.policy import ClaimWake, RequestWake
from torpor_statemachine.lifecycle.satellite import Satellite
from torpor_statemachine.postgres.pool import Database
from torpor_statemachine.store.changes import Attribution, Changed
from torpor_statemachine.store.explaining import Explaining
from torpor_statemachine.store.keeping import Keeping
from torpor_statemachine.store.node_list import NodeList
from torpor_statemachine.store.pauses import Pauses
from torpor_statemachine.store.permits import Permits
from torpor_statemachine.store.queries import Queries
from torpor_statemachine.store.transitions import Transitions

NOBODY = UUID(int=0)
_ASKED, _FORCED = "asked", "forced"


class Shell:
    def __init__(self, database: Database, config: FleetConfig | None = None) -> None:
        config = config or FleetConfig()
        self._queries = Queries(database)
        self._nodes = NodeList(database)
        # each claim says for itself whose it is
        self._transitions = Transitions(database, config, NOBODY)
        self._keeping = Keeping(database, config, NOBODY)
        self._permits = Permits(database)
        self._explaining = Explaining(self._queries, self._keeping, Pauses(database), self._permits)

    async def find(self, org_id: UUID, name: str) -> Satellite | None:
        """By its name, and with what keeps it awake."""
        return await self._explaining.find(org_id, name)

    async def get(self, satellite_id: UUID) -> Satellite:
        """
        Raises:
            UnknownSatellite: there is none.
        """
        satellite = await self._queries.by_id(satellite_id)
        if satellite is None:
            raise UnknownSatellite
        return satellite

    async def wake(self, satellite_id: UUID, actor: str) -> Satellite:
        """See to it that it is awake soon.

        Raises:
            BackingOff, WrongState, NoNodeLives: it stays as it is.
        """
        satellite = await self.get(satellite_id)
        match to_wake(satellite):
            case None:
                return satellite
            case ClaimWake():
                await self._permits.check(satellite)
                by = await self._by(satellite, actor, _ASKED)
                changed = await self._transitions.wake(satellite, by)
                if changed is None and (limit := await self._transitions.limit(satellite)):
                    raise limit
                await self._leave(changed)
            case RequestWake():
                await self._permits.check(satellite)
                await self._transitions.request_wake(satellite)
        return await self.get(satellite_id)

    async def sleep(self, satellite_id: UUID, actor: str, *, force: bool) -> Satellite:
        """Put it to sleep; by `force` also under open streams, which are ended.

        Raises:
            SatelliteBusy, WrongState, NoNodeLives: it stays as it is.
        """
        return await self._claim(satellite_id, actor, to_sleep, force=force)

    async def terminate(self, satellite_id: UUID, actor: str, *, force: bool) -> Satellite:
        """End its machine and its disk; by `force` also under open streams, or while launching.

        Raises:
            SatelliteBusy, WrongState, NoNodeLives: it stays as it is.
        """
        choose = partial(to_terminate, force=force)
        return await self._claim(satellite_id, actor, choose, force=force)

    async def _claim(
        self,
        satellite_id: UUID,
        actor: str,
        choose: Callable[[Satellite], Event | None],
        *,
        force: bool,
    ) -> Satellite:
        satellite = await self.get(satellite_id)
        if (event := choose(satellite)) is None:
            return satellite
        by = await self._by(satellite, actor, _FORCED if force else _ASKED)
        changed = await self._transitions.begin(event, satellite, by, force=force)
        if changed is None:
            raise busy(satellite, await self._keeping.of(satellite_id))
        await self._leave(changed)
        return changed.satellite

    async def _by(self, satellite: Satellite, actor: str, reason: str) -> Attribution:
        """
        Raises:
            NoNodeLives: nobody would carry it out.
        """
        return Attribution(await self._nodes.serving(satellite.provisioner), actor, reason)

    async def _leave(self, changed: Changed | None) -> None:
        """To any node; None: another was first."""
        if changed is not None:
            await self._transitions.let_go(changed.satellite, 0.0)
