"""Who is asking for which satellite, as values: what was read, and what was decided."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass
from math import inf
from typing import NamedTuple, Protocol
from uuid import UUID

from torpor_router.dialects.purpose import Purpose
from torpor_router.names import is_name

ON_RECORD = "on record"  # the subject's unit, in certificates of Torpor's own CA
_URI = "torpor://org/"

Names = tuple[str, str]  # org, satellite


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a client certificate that TLS has verified says of its owner.

    It speaks for `org`, and for the one satellite if it names one. `serial` and `fingerprint` (the
    SHA-256 of its DER form) are lower-case hex. It is good from `begins` to `ends`, in
    seconds since 1970; `authority` is the SHA-256 of the CA that it was believed for. `subject` is
    its common name. One that is `recorded` lets nobody in without the record of its issue.
    """

    org: str
    satellite: str | None = None
    serial: str = ""
    fingerprint: str = ""
    ends: float = inf
    authority: str = ""
    begins: float = -inf
    subject: str = ""
    recorded: bool = False

    @property
    def name(self) -> str:
        """Whose it is, for logs and the history: "certificate:laptop/4f2a90"."""
        return f"certificate:{self.subject or self.org}" + (
            f"/{self.serial}" if self.serial else ""
        )

    def __str__(self) -> str:
        return f"the certificate {self.serial} of {self.org}"

    def is_good_at(self, now: float) -> bool:
        """Whether its time has come, and is not over."""
        return self.begins <= now < self.ends


@dataclass(frozen=True, slots=True)
class Ask:
    """What one request says of itself. `org` and `satellite` are names, as the caller wrote them.

    `token_hash` is the SHA-256 of a bearer token (the token itself is kept nowhere), `certificate`
    what a verified client certificate says. At least one of them is needed to be let in.
    """

    org: str
    satellite: str
    token_hash: bytes | None = None
    certificate: Certificate | None = None

    def __repr__(self) -> str:
        shown = "a token" if self.token_hash else self.certificate
        return f"<Ask {self.org}/{self.satellite} with {shown}>"


@dataclass(frozen=True, slots=True)
class Route:
    """The decision: this caller, this satellite."""

    satellite_id: UUID
    org: str
    satellite: str
    caller: str  # "token:ci" or "certificate:laptop/4f2a90", for logs and the transitions log


class Directory(Protocol):
    """Implemented by `torpor_router.access`."""

    def route_now(self, ask: Ask) -> Route | None:
        """The decision if it is cached and still trusted; no I/O."""
        ...

    async def route(self, ask: Ask, peer: str, token: Callable[[], str]) -> Route:
        """The decision, from the cache or the database. `peer` is the client's address.

        `token` gives the text of the request's token, which is kept nowhere.

        Raises:
            TorporError: unauthenticated, another org's satellite, unknown satellite.
        """
        ...

    def is_refused(self, certificate: Certificate) -> bool:
        """Whether the certificate is revoked, as far as is known; no I/O."""
        ...

    def on_refused(
        self, on_refused: Callable[[Set[str]], None], needed: Callable[[], bool] = ...
    ) -> None:
        """Call `on_refused` with the serial numbers and SHA-256 of revoked certificates, while
        that is `needed`."""
        ...


@dataclass(frozen=True, slots=True)
class Peer:
    """What the connection itself says of who is there, before any request.

    `address` is the client's own, also behind a load balancer that speaks PROXY v2.
    """

    address: str
    certificate: Certificate | None = None
    server_name: str | None = None  # from TLS

    @property
    def org(self) -> str | None:
        """The org that the client's certificate speaks for."""
        return self.certificate.org if self.certificate is not None else None


class ToSatellite(NamedTuple):
    """A request for a satellite; `consumed` are the fields that were for the door alone.

    `path` is its method's if it decides, and `purpose` what that is for.
    """

    ask: Ask
    consumed: frozenset[bytes]
    path: bytes = b""
    purpose: Purpose = Purpose.WORK


class ToNode(NamedTuple):
    """A request for the node's own services.

    `for_anyone` says that they answer it without credentials. They see it as it came, but for the
    fields that are `consumed`; `added` are fields, encoded, that the door adds.
    """

    for_anyone: bool
    consumed: frozenset[bytes] = frozenset()
    added: bytes = b""


class AsConnection(NamedTuple):
    """A request that leaves out where it wants to go, or for whom: as others of its connection.

    Where they are for another satellite than its `names`, or there were none yet, it is refused,
    or, with `or_node`, answered by the node.
    """

    names: Names | None
    token_hash: bytes | None
    consumed: frozenset[bytes]
    path: bytes
    or_node: bool


Target = ToSatellite | ToNode | AsConnection


def uri_of(org: str, satellite: str | None) -> str:
    """What `identity` reads."""
    return f"{_URI}{org}/satellite/{satellite}" if satellite is not None else f"{_URI}{org}"


def identity(uri: str) -> tuple[str, str | None] | None:
    """The org, and satellite if any, that a certificate's URI SAN speaks for.

    ``torpor://org/ORG`` is any of the org's satellites, ``torpor://org/ORG/satellite/NAME``
    names one of them. None for a URI of any other form.
    """
    if not uri.startswith(_URI):
        return None
    match uri.removeprefix(_URI).split("/"):
        case [org] if is_name(org):
            return org, None
        case [org, "satellite", name] if is_name(org) and is_name(name):
            return org, name
    return None
