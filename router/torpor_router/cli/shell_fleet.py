"""The fleet behind torpor.v1.Satellites where there is a database and no node."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import NoReturn
from uuid import UUID

from torpor_statemachine.errors import WrongState
from torpor_statemachine.lifecycle.satellite import Satellite, Transition
from torpor_statemachine.lifecycle.specs import Changes, NewSatellite
from torpor_statemachine.postgres.pool import Database
from torpor_statemachine.shell import Shell
from torpor_statemachine.store.queries import Queries

_LOOK = 0.5  # seconds between two looks at one that changes

Satellites = Sequence[Satellite]  # `list` is a method's name below


class ShellFleet:
    """Implements `control.ports.Fleet`; any node carries out what is claimed here."""

    def __init__(self, database: Database) -> None:
        self._shell = Shell(database)
        self._queries = Queries(database)

    async def launch(self, new: NewSatellite, *, actor: str) -> NoReturn:  # noqa: ARG002 - the port's
        raise _needs_a_router("launch")

    async def update(self, satellite_id: UUID, changes: Changes, *, actor: str) -> NoReturn:  # noqa: ARG002
        raise _needs_a_router("update")

    async def repair(self, satellite_id: UUID, *, actor: str) -> NoReturn:  # noqa: ARG002
        raise _needs_a_router("repair")

    async def wake(self, satellite_id: UUID, *, actor: str) -> Satellite:
        return await self._shell.wake(satellite_id, actor)

    async def sleep(self, satellite_id: UUID, *, actor: str, force: bool = False) -> Satellite:
        return await self._shell.sleep(satellite_id, actor, force=force)

    async def terminate(self, satellite_id: UUID, *, actor: str, force: bool = False) -> Satellite:
        return await self._shell.terminate(satellite_id, actor, force=force)

    async def find(self, org_id: UUID, name: str) -> Satellite | None:
        return await self._shell.find(org_id, name)

    async def list(self, org_id: UUID) -> Satellites:
        return await self._queries.of_org(org_id)

    async def history(self, satellite_id: UUID, limit: int) -> Sequence[Transition]:
        return await self._queries.history(satellite_id, limit)

    async def follow(self, satellite_id: UUID) -> AsyncGenerator[Satellite, None]:
        while True:
            yield await self._shell.get(satellite_id)
            await asyncio.sleep(_LOOK)


def _needs_a_router(what: str) -> WrongState:
    return WrongState(f"to {what} it, ask a router")
