"""Where one request wants to go, and for whom: read from its header fields; no I/O, nothing kept.

`naming` says which satellite it means. The caller shows a client certificate, or a token in
``satellite_token`` or ``authorization``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from uuid import UUID

from torpor_router import peer_info
from torpor_router.dialects.bazel import CAPABILITIES, FORGETFUL
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
from torpor_router.names import LONGEST_TOKEN
from torpor_router.naming import NAMING, named
from torpor_router.peer_info import PeerInfo
from torpor_router.routing import AsConnection, Ask, Names, Peer, Target, ToNode, ToSatellite
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
_TOKEN = b"satellite_token"


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
    names = named(of_interest, peer, domain)
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
    method = of.get(b":path", b"")  # refusals are not remembered, and may name any method
    raise no_credentials(method) if names is not None else no_satellite(method)


def _of_interest(fields: Iterable[Field]) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    for name, value, _, _ in fields:
        if name not in _READ:
            continue
        if name not in found:
            found[name] = value
        elif name == _AUTHORIZATION:  # may be the worker's; then any number is its affair
            found[name] += _TWICE + value
        elif name == _TOKEN:
            raise NoCredentials("'satellite_token' stands there twice")
        else:
            raise BadSatelliteName(f"'{name.decode()}' stands there twice")
    return found


_AUTHORIZATION = b"authorization"
_TWICE = b"\0"  # in no field's value
_NOTHING: frozenset[bytes] = frozenset()
_CONSUMED = frozenset((*NAMING, _TOKEN))
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
    info = PeerInfo(peer.address, peer.org, instead_of)
    return ToNode(for_anyone, peer_info.KEYS, info.encoded())


def _credentials(of: dict[bytes, bytes], peer: Peer) -> tuple[bytes | None, frozenset[bytes]]:
    shown = of.get(_AUTHORIZATION, b"")
    if _TOKEN in of:
        again = of[_TOKEN] in shown  # in whatever scheme
        return _token(of[_TOKEN]), frozenset((_AUTHORIZATION,) if again else ())
    if peer.certificate is not None and not _is_own_token(shown):
        return None, frozenset()  # an `authorization` is then meant for the worker
    if _TWICE in shown:
        raise NoCredentials("'authorization' stands there twice")
    token = _bearer(shown)
    if not token:
        raise NoCredentials
    return _token(token), frozenset((_AUTHORIZATION,))


def _is_own_token(authorization: bytes) -> bool:
    """Whether it shows what only a door of this kind gives out, in whatever scheme, and so is no
    worker's affair."""
    return PREFIX.encode() in authorization


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
