"""Who is asking for which satellite: what a request says, and what was decided.

`read_request` reads it from a request's header fields and from what is known of the peer; it does
no I/O and keeps nothing. The satellite is named, in this order, by the metadata
``satellite: ORG/NAME`` (or ``satellite_org`` and ``satellite_name``), by the client certificate,
by the TLS server name ``NAME--ORG.DOMAIN``, and by ``:authority``; names may not contradict each
other. The caller shows a client
certificate, or a token in ``satellite_token`` or ``authorization``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass
from math import inf
from typing import NamedTuple, Protocol
from uuid import UUID

from torpor_router import peer_info
from torpor_router.dialects.bazel import CAPABILITIES, FORGETFUL
from torpor_router.dialects.purpose import Purpose
from torpor_router.dialects.refusals import no_credentials, no_satellite
from torpor_router.dialects.requests import PATHS, purpose_of
from torpor_router.errors import (
    BadSatelliteName,
    HeadersTooLarge,
    MalformedRequest,
    NoCredentials,
    RouterError,
)
from torpor_router.h2.blocks import FIELD_OVERHEAD
from torpor_router.h2.fields import Field
from torpor_router.names import LONGEST_TOKEN, is_name
from torpor_router.peer_info import PeerInfo
from torpor_router.tokens import PREFIX, digest

NODE_METADATA = 16 * 1024  # octets of a header list (RFC 9113 section 6.5.2)
_CONTROL = b"/torpor.v1."
_EXCHANGE = b"/torpor.v1.Access/Exchange"  # what it shows is in its message
_REFLECTION = b"/grpc.reflection."
# Calls that client libraries make by themselves on each connection: health checking (gRFC A17)
# and load reports (gRFC A51). They carry none of the application's metadata.
_BY_LIBRARIES = (b"/grpc.health.v1.", b"/xds.service.orca.v3.OpenRcaService/")
_NODE_SERVICES = (_CONTROL, _REFLECTION, *_BY_LIBRARIES)
# A request's path decides only where it begins so, and of its other fields only those of `_READ`
# do: decisions are remembered by these, however else requests differ.
DECIDING_PATHS = (*_NODE_SERVICES, *FORGETFUL, *PATHS)
_NAMING = (b"satellite", b"satellite_org", b"satellite_name")
_TOKEN = b"satellite_token"
_URI = "torpor://org/"

Names = tuple[str, str]  # org, satellite


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a client certificate that TLS has verified says of its owner.

    It speaks for `org`, and for the one satellite if it names one. `serial` and `fingerprint` (the
    SHA-256 of its DER form) are lower-case hex. It is good from `begins` to `ends`, in
    seconds since 1970; `authority` is the SHA-256 of the CA that it was believed for.
    """

    org: str
    satellite: str | None = None
    serial: str = ""
    fingerprint: str = ""
    ends: float = inf
    authority: str = ""
    begins: float = -inf

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
    caller: str  # "token:ci" or "certificate:acme", for logs and the transitions log


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
        self, told: Callable[[Set[str]], None], needed: Callable[[], bool] = ...
    ) -> None:
        """Call `told` with the serial numbers and SHA-256 of certificates that were revoked, while
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


def read_request(fields: Sequence[Field], peer: Peer, domain: str = "") -> Target:
    """Read where a request wants to go. Host names count under `domain`, or, without one, any.

    Raises:
        NoSatelliteNamed, BadSatelliteName, NoCredentials, MalformedRequest: it cannot be told
            where the request wants to go, or for whom; or names contradict each other.
    """
    try:
        return _read(fields, peer, domain)
    except RouterError:
        if any(each.name == b":path" and purpose_of(each.value).only_tells for each in fields):
            return to_node(fields, peer, for_anyone=True)  # other calls are refused: once is enough
        raise


def _read(fields: Sequence[Field], peer: Peer, domain: str) -> Target:
    of_interest = _of_interest(fields)
    path = _deciding_path(of_interest)
    if path.startswith(_NODE_SERVICES) and _is_for_node(path, of_interest, peer):
        for_anyone = path == _EXCHANGE or not path.startswith(_CONTROL)
        return to_node(fields, peer, for_anyone=for_anyone)
    names = _named(of_interest, peer, domain)
    if names is None and path.startswith(_NODE_SERVICES):
        return to_node(fields, peer, for_anyone=True)
    shows_who = peer.certificate is not None or _shows_token(of_interest)
    if names is None or not shows_who:
        return _incomplete(path, names, of_interest, peer, shows_who=shows_who)
    token, consumed = _credentials(of_interest, peer)
    ask = Ask(*names, token, peer.certificate)
    return ToSatellite(ask, _CONSUMED | consumed, path, purpose_of(path))


def _deciding_path(of: dict[bytes, bytes]) -> bytes:
    """The path, where it decides; all others are alike."""
    path = of.get(b":path", b"")
    return path if path.startswith(DECIDING_PATHS) else b""


def _shows_token(of: dict[bytes, bytes]) -> bool:
    return _AUTHORIZATION in of or _TOKEN in of


def _is_for_node(path: bytes, of: dict[bytes, bytes], peer: Peer) -> bool:
    """Whether a call of a service that the node has is for the node, wherever others go."""
    if path.startswith(_CONTROL):
        return True
    by_itself = OWN_METADATA.isdisjoint(of)
    return by_itself and (path.startswith(_BY_LIBRARIES) or peer.certificate is None)


def _incomplete(
    path: bytes, names: Names | None, of: dict[bytes, bytes], peer: Peer, *, shows_who: bool
) -> AsConnection:
    """A request that leaves something out, if it is of a kind that some client sends so."""
    if path == CAPABILITIES:
        token, consumed = _credentials(of, peer) if shows_who else (None, _NOTHING)
        return AsConnection(names, token, _CONSUMED | consumed, path, or_node=True)
    if names is None and path.startswith(FORGETFUL) and not shows_who:
        return AsConnection(None, None, _CONSUMED, path, or_node=False)
    asked = of.get(b":path", b"")  # refusals are not remembered, and may name any method
    raise no_credentials(asked) if names is not None else no_satellite(asked)


def _of_interest(fields: Iterable[Field]) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    for name, value, _, _ in fields:
        if name not in _READ:
            continue
        if name not in found:
            found[name] = value
        elif name == _AUTHORIZATION:  # may be the worker's; then any number is its affair
            own = _is_own_token(value) or _is_own_token(found[name])
            found[name] = _TWICE_OWN if own else _TWICE
        elif name == _TOKEN:
            raise NoCredentials("'satellite_token' stands there twice")
        else:
            raise BadSatelliteName(f"'{name.decode()}' stands there twice")
    return found


_AUTHORIZATION = b"authorization"
_TWICE, _TWICE_OWN = b"\0", b"Bearer " + PREFIX.encode() + b"\0"  # no field's values
_NOTHING: frozenset[bytes] = frozenset()
_CONSUMED = frozenset((*_NAMING, _TOKEN))
OWN_METADATA = _CONSUMED | {_AUTHORIZATION}
_READ = OWN_METADATA | {b":path", b":authority"}


def to_node(
    fields: Sequence[Field], peer: Peer, *, for_anyone: bool, instead_of: UUID | None = None
) -> ToNode:
    """A call of the node's own services, or one that they answer in a satellite's place.

    What their gRPC server would end without a code, or would accept, gets a code here.

    Raises:
        MalformedRequest, HeadersTooLarge: it is no call of gRPC, or has too much metadata.
    """
    types = [value for name, value, *_ in fields if name == b"content-type"]
    if len(types) > 1:
        raise MalformedRequest("'content-type' stands there twice")
    methods = [value for name, value, *_ in fields if name == b":method"]
    if methods not in ([], [b"POST"]):
        raise MalformedRequest("':method' is not POST")
    # Their gRPC server would log a traceback for each
    if not all(name.endswith(b"-bin") or value.isascii() for name, value, *_ in fields):
        raise MalformedRequest("a field's value is not ASCII")
    size = sum(len(name) + len(value) + FIELD_OVERHEAD for name, value, *_ in fields)
    if size > NODE_METADATA:
        raise HeadersTooLarge(f"{size} octets: {NODE_METADATA} at most for the router itself")
    told = PeerInfo(peer.address, peer.org, instead_of)
    return ToNode(for_anyone, peer_info.KEYS, told.encoded())


def _named(of: dict[bytes, bytes], peer: Peer, domain: str) -> Names | None:
    """Which satellite is meant: the metadata's, the certificate's, or the host name's.

    Host names must agree with what counts more. (What metadata names besides the certificate's
    own is a question of rights, and asked later.)
    """
    host = from_host(peer.server_name or "", domain)
    authority = from_host(_text(of.get(b":authority", b"")), domain)
    certificate = peer.certificate
    by_certificate = None
    if certificate is not None and certificate.satellite is not None:
        by_certificate = certificate.org, certificate.satellite
    names = _in_metadata(of, peer) or by_certificate or host or authority
    for each in (host, authority if domain else None):  # without a domain, any host is one
        if each not in (None, names):
            raise BadSatelliteName(f"{_written(names)}, and the host name says {_written(each)}")
    return names


def _in_metadata(of: dict[bytes, bytes], peer: Peer) -> Names | None:
    one = _from_metadata(of[b"satellite"], peer) if b"satellite" in of else None
    two = None
    if b"satellite_name" in of:
        org = of.get(b"satellite_org")
        if org is None and peer.org is None:
            raise BadSatelliteName("'satellite_name' without 'satellite_org'")
        named_org = _text(org) if org is not None else peer.org
        two = _checked(named_org, of[b"satellite_name"])
    elif b"satellite_org" in of and one is None:
        raise BadSatelliteName("'satellite_org' without 'satellite_name'")
    if one is not None and two is not None and one != two:
        raise BadSatelliteName(f"{_written(one)}, and {_written(two)}")
    return one or two


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


def _credentials(of: dict[bytes, bytes], peer: Peer) -> tuple[bytes | None, frozenset[bytes]]:
    shown = of.get(_AUTHORIZATION, b"")
    if _TOKEN in of:
        twice = _bearer(shown) == of[_TOKEN]
        return _token(of[_TOKEN]), frozenset((_AUTHORIZATION,) if twice else ())
    if peer.certificate is not None and not _is_own_token(shown):
        return None, frozenset()  # an `authorization` is then meant for the worker
    if shown in (_TWICE, _TWICE_OWN):
        raise NoCredentials("'authorization' stands there twice")
    token = _bearer(shown)
    if not token:
        raise NoCredentials
    return _token(token), frozenset((_AUTHORIZATION,))


def _is_own_token(authorization: bytes) -> bool:
    """Whether it shows what only a door of this kind gives out, and so is no worker's affair."""
    return _bearer(authorization).startswith(PREFIX.encode())


def _bearer(authorization: bytes) -> bytes:
    """The token that it shows; none in any other scheme."""
    scheme, _, token = authorization.partition(b" ")
    return token.strip() if scheme.lower() == b"bearer" else b""


def shown_token(fields: Iterable[Field]) -> str:
    """The text of a token that `read_request` has accepted; empty where there is none."""
    shown = {name: value for name, value, *_ in fields if name in (_TOKEN, _AUTHORIZATION)}
    if _TOKEN in shown:
        return shown[_TOKEN].decode("ascii", "replace")
    return shown.get(_AUTHORIZATION, b"").partition(b" ")[2].strip().decode("ascii", "replace")


def _token(value: bytes) -> bytes:
    """Its hash: a request's token goes no further than this."""
    if not value or len(value) > LONGEST_TOKEN or not value.isascii():
        raise NoCredentials("the token is empty, too long, or not ASCII")
    return digest(value)


def _written(names: Names | None) -> str:
    return "/".join(names or ())


def _text(value: bytes) -> str:
    try:
        return value.decode("ascii")
    except UnicodeDecodeError as error:
        raise MalformedRequest("a name or host is not ASCII") from error


def _shown(text: str) -> str:
    return repr(text[:80])
