"""What the control API is made from: a fleet, and who its callers are."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol
from uuid import UUID

from torpor_statemachine.lifecycle.satellite import Satellite, Transition
from torpor_statemachine.lifecycle.specs import Changes, NewSatellite


class Caller(Protocol):
    """Whoever a token belongs to. `name` is for the transitions log."""

    @property
    def org_id(self) -> UUID: ...

    @property
    def org(self) -> str: ...

    @property
    def name(self) -> str: ...


class Callers(Protocol):
    """Implemented by `torpor_router.access`."""

    async def caller(self, token: str) -> Caller:
        """
        Raises:
            TorporError: UNAUTHENTICATED, with a code of its own for each reason.
        """
        ...


class Fleet(Protocol):
    """Implemented by `torpor_statemachine.fleet.Fleet`, which says what each call does."""

    async def launch(self, new: NewSatellite, *, actor: str) -> Satellite: ...

    async def wake(self, satellite_id: UUID, *, actor: str) -> Satellite: ...

    async def sleep(self, satellite_id: UUID, *, actor: str, force: bool = False) -> Satellite: ...

    async def terminate(
        self, satellite_id: UUID, *, actor: str, force: bool = False
    ) -> Satellite: ...

    async def update(self, satellite_id: UUID, changes: Changes, *, actor: str) -> Satellite: ...

    async def repair(self, satellite_id: UUID, *, actor: str) -> Satellite: ...

    async def find(self, org_id: UUID, name: str) -> Satellite | None: ...

    async def list(self, org_id: UUID) -> Sequence[Satellite]: ...

    async def history(self, satellite_id: UUID, limit: int) -> Sequence[Transition]: ...

    def follow(self, satellite_id: UUID) -> AsyncIterator[Satellite]: ...
