"""Who is asking for which satellite: what a request says, and what was decided."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Ask:
    """What one request says of itself. `org` and `satellite` are names, as the caller wrote them.

    `certificate_org` is the org that a verified client certificate speaks for; `token` is a
    bearer token as it came. At least one of them is needed to be let in.
    """

    org: str
    satellite: str
    token: str | None = None
    certificate_org: str | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """The decision: this caller, this satellite."""

    satellite_id: UUID
    org: str
    satellite: str
    caller: str  # "token:ci" or "certificate:acme", for logs and the transitions log


class Directory(Protocol):
    """Implemented by `torpor_router.access`."""

    def route_now(self, ask: Ask) -> Route | None:
        """The decision if it is cached and still trusted; no I/O."""
        ...

    async def route(self, ask: Ask) -> Route:
        """The decision, from the cache or the database.

        Raises:
            TorporError: unauthenticated, another org's satellite, unknown satellite.
        """
        ...
