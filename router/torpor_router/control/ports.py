"""What the control API is made from: a fleet, who its callers are, and who observes it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol
from uuid import UUID

from torpor_provisioner.errors import TorporError
from torpor_router.access.audit import Act
from torpor_router.access.roles import Grant
from torpor_router.peer_info import PeerInfo
from torpor_statemachine.lifecycle.satellite import Satellite, Transition
from torpor_statemachine.lifecycle.specs import Changes, NewSatellite


class Caller(Protocol):
    """The owner of a token. `name` is for the transitions log."""

    @property
    def org_id(self) -> UUID: ...

    @property
    def org(self) -> str: ...

    @property
    def name(self) -> str: ...

    @property
    def grant(self) -> Grant: ...

    @property
    def token_id(self) -> UUID | None: ...


class Callers(Protocol):
    """Implemented by `torpor_router.access`."""

    async def caller(self, token: str, peer: PeerInfo, org: str) -> Caller:
        """Whose token that is; `peer` is the client that shows it, `org` the one that it names.

        Raises:
            TorporError: UNAUTHENTICATED, with a code of its own for each reason.
        """
        ...


class Observer(Protocol):
    """Implemented by telemetry. Must return at once and never raise."""

    def refused(self, error: TorporError, org: str, caller: str, peer: str) -> None:
        """A call ended with a code. Its org and caller, if known, and the client's address."""
        ...


class Audit(Protocol):
    """Implemented by `torpor_router.access`."""

    async def write(self, act: Act) -> None:
        """
        Raises:
            TorporError: it could not be written.
        """
        ...

    def refused(self, act: Act) -> None:
        """Write it soon. Returns at once and never raises."""
        ...


class Unaudited:
    """The audit log of a server without one."""

    async def write(self, act: Act) -> None:
        pass

    def refused(self, act: Act) -> None:
        pass


class Unobserved:
    """The observer of who does not care."""

    def refused(self, error: TorporError, org: str, caller: str, peer: str) -> None:
        pass


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
