"""Who is asking for which satellite: what a request says, and what was decided.

`asked` reads it from a request's header fields and from what is known of the peer; it does no
I/O and keeps nothing. The satellite is named, in this order, by the metadata
``satellite: ORG/NAME`` (or ``satellite_org`` and ``satellite_name``), by the client certificate,
by the TLS server name ``NAME--ORG.DOMAIN``, and by ``:authority``. The caller shows a client
certificate, or a token in ``satellite_token`` or ``authorization``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Protocol
from uuid import UUID

from torpor_provisioner.errors import TorporError
from torpor_router import peer_info
from torpor_router.errors import (
    BadSatelliteName,
    HeadersTooLarge,
    MalformedRequest,
    NoCredentials,
    NoSatelliteNamed,
)
from torpor_router.h2.blocks import FIELD_OVERHEAD
from torpor_router.h2.fields import Field
from torpor_router.names import LONGEST_TOKEN, is_name
from torpor_router.peer_info import PeerInfo
from torpor_router.tokens import digest

_NODE_SERVICES = (b"/torpor.v1.", b"/grpc.health.v1.", b"/grpc.reflection.")
_CAPABILITIES = b"/build.bazel.remote.execution.v2.Capabilities/GetCapabilities"
# Calls of Bazel's that leave its --remote_header out, in some version or other
_FORGETFUL = (b"/google.bytestream.ByteStream/", b"/build.bazel.remote.")
NODE_METADATA = 16 * 1024  # octets of a header list (RFC 9113 section 6.5.2)
_NAMING = (b"satellite", b"satellite_org", b"satellite_name")
_TOKEN = b"satellite_token"
_URI = "torpor://org/"

Names = tuple[str, str]  # org, satellite


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a client certificate that TLS has verified says of its owner.

    It speaks for `org`, and for the one satellite if it names one. `serial` and `fingerprint` (the
    SHA-256 of its DER form) are lower-case hex. `ends` is its notAfter, in seconds since 1970;
    `authorities` tells the set of CAs that it was verified with from others.
    """

    org: str
    satellite: str | None = None
    serial: str = ""
    fingerprint: str = ""
    ends: float = inf
    authorities: str = ""

    def __str__(self) -> str:
        return f"the certificate {self.serial} of {self.org}"


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
    caller: str  # "token:ci" or "certificate:acme", for logs and the transitions log


class Directory(Protocol):
    """Implemented by `torpor_router.access`."""

    def route_now(self, ask: Ask) -> Route | None:
        """The decision if it is cached and still trusted; no I/O."""
        ...

    async def route(self, ask: Ask, peer: str) -> Route:
        """The decision, from the cache or the database. `peer` is the client's address.

        Raises:
            TorporError: unauthenticated, another org's satellite, unknown satellite.
        """
        ...

    def refusal_now(self, certificate: Certificate) -> TorporError | None:
        """Why an open connection that came with this certificate must end, if it must; no I/O."""
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


@dataclass(frozen=True, slots=True)
class Asked:
    """A request read: where it wants to go, and which of its fields were for the door alone.

    `ask` is None for the node's own services. `added` are fields, encoded, that the door adds.
    """

    ask: Ask | None
    consumed: frozenset[bytes] = frozenset()
    added: bytes = b""


CAPABILITIES = Asked(None)  # see `relay.capabilities`
THE_SAME = Asked(None)  # as the connection's other requests: it says nothing at all


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


def asked(fields: Sequence[Field], peer: Peer, domain: str = "") -> Asked:
    """Read a request. Host names count under `domain` only, or, without one, under any.

    Raises:
        NoSatelliteNamed, BadSatelliteName, NoCredentials, MalformedRequest: it cannot be told
            where the request wants to go, or for whom.
    """
    of_interest = _of_interest(fields)
    names = _named(of_interest, peer, domain)
    path = of_interest.get(b":path", b"")
    if names is None and path.startswith(_NODE_SERVICES):
        _check_own(fields)
        return Asked(None, peer_info.KEYS, PeerInfo(peer.address, peer.org).encoded())
    if path == _CAPABILITIES and (names is None or not _shows_who(of_interest, peer)):
        return CAPABILITIES
    if names is None and path.startswith(_FORGETFUL) and not _shows_who(of_interest, peer):
        return THE_SAME
    if names is None:
        raise NoSatelliteNamed
    token, consumed = _credentials(of_interest, peer)
    return Asked(Ask(*names, token, peer.certificate), _CONSUMED | consumed)


def one_more(fields: Iterable[Field], peer: Peer, domain: str, of: Ask) -> Asked | None:
    """A request that shows nobody, taken for one more `of` its connection's caller; None where
    it names another satellite.

    Raises:
        BadSatelliteName, MalformedRequest: it cannot be told what it names.
    """
    names = _named(_of_interest(fields), peer, domain)
    return Asked(of, _CONSUMED) if names in (None, (of.org, of.satellite)) else None


def _of_interest(fields: Iterable[Field]) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    for name, value, _, _ in fields:
        if name in _READ:
            if name == _TOKEN and name in found:
                raise NoCredentials("'satellite_token' stands there twice")
            if name in found and name != b"authorization":
                raise BadSatelliteName(f"'{name.decode()}' stands there twice")
            found[name] = _TWICE if name in found else value
    return found


_TWICE = b"twice"  # the worker may have its reasons; as a credential it is refused
_CONSUMED = frozenset((*_NAMING, _TOKEN))
_READ = _CONSUMED | {b":path", b":authority", b"authorization"}


def _check_own(fields: Sequence[Field]) -> None:
    """Give a code to what the node's own gRPC server would end without one, or would accept.

    Raises:
        MalformedRequest, HeadersTooLarge: it is no call of gRPC, or has too much metadata.
    """
    types = [value for name, value, *_ in fields if name == b"content-type"]
    if len(types) > 1:
        raise MalformedRequest("'content-type' stands there twice")
    methods = [value for name, value, *_ in fields if name == b":method"]
    if methods not in ([], [b"POST"]):
        raise MalformedRequest("':method' is not POST")
    size = sum(len(name) + len(value) + FIELD_OVERHEAD for name, value, *_ in fields)
    if size > NODE_METADATA:
        raise HeadersTooLarge(f"{size} octets: {NODE_METADATA} at most for the router itself")


def _named(of: dict[bytes, bytes], peer: Peer, domain: str) -> Names | None:
    if b"satellite" in of:
        return _from_metadata(of[b"satellite"], peer)
    if b"satellite_name" in of:
        org = of.get(b"satellite_org")
        if org is None and peer.org is None:
            raise BadSatelliteName("'satellite_name' without 'satellite_org'")
        named_org = _text(org) if org is not None else peer.org
        return _checked(named_org, of[b"satellite_name"])
    if b"satellite_org" in of:
        raise BadSatelliteName("'satellite_org' without 'satellite_name'")
    if peer.certificate is not None and peer.certificate.satellite is not None:
        return peer.certificate.org, peer.certificate.satellite
    if peer.server_name and (names := from_host(peer.server_name, domain)):
        return names
    return from_host(_text(of.get(b":authority", b"")), domain)


def _from_metadata(value: bytes, peer: Peer) -> Names:
    org, slash, name = _text(value).partition("/")
    if slash:
        return _checked(org, name)
    if peer.org is None:
        raise BadSatelliteName(f"{_shown(org)} is not of the form ORG/NAME")
    return _checked(peer.org, org)


def _checked(org: str | None, name: str | bytes) -> Names:
    org, name = org or "", _text(name) if isinstance(name, bytes) else name
    if not (is_name(org) and is_name(name)):
        raise BadSatelliteName(_shown(f"{org}/{name}"))
    return org, name


def from_host(host: str, domain: str = "") -> Names | None:
    """The names in NAME--ORG.DOMAIN (a port may follow); None where the host names none.

    A name that itself has two hyphens in a row cannot be told by a host name.
    """
    label, _, rest = host.lower().partition(".")
    name, _, org = label.partition("--")
    under = rest.partition(":")[0]
    if (
        under
        and domain.lower() in ("", under)
        and label.count("--") == 1
        and is_name(name)
        and is_name(org)
    ):
        return org, name
    return None


def _shows_who(of: dict[bytes, bytes], peer: Peer) -> bool:
    return peer.certificate is not None or _TOKEN in of or b"authorization" in of


def _credentials(of: dict[bytes, bytes], peer: Peer) -> tuple[bytes | None, frozenset[bytes]]:
    if _TOKEN in of:
        return _token(of[_TOKEN]), frozenset()
    if peer.certificate is not None:
        return None, frozenset()  # an `authorization` is then meant for the worker
    if of.get(b"authorization") is _TWICE:
        raise NoCredentials("'authorization' stands there twice")
    scheme, _, token = of.get(b"authorization", b"").partition(b" ")
    if scheme.lower() != b"bearer" or not token.strip():
        raise NoCredentials
    return _token(token.strip()), frozenset((b"authorization",))


def _token(value: bytes) -> bytes:
    """Its hash: a request's token goes no further than this."""
    if not value or len(value) > LONGEST_TOKEN or not value.isascii():
        raise NoCredentials("the token is empty, too long, or not ASCII")
    return digest(value)


def _text(value: bytes) -> str:
    try:
        return value.decode("ascii")
    except UnicodeDecodeError as error:
        raise MalformedRequest("a name or host is not ASCII") from error


def _shown(text: str) -> str:
    return repr(text[:80])
