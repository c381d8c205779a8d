"""Whether a header list is a well-formed request (RFC 9113 section 8.3), and one of gRPC's."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from torpor_router.errors import GrpcWeb, NotGrpc, Preflight
from torpor_router.h2.faults import StreamFault
from torpor_router.h2.fields import Field
from torpor_router.h2.wire import ErrorCode

_GRPC: Final = re.compile(rb"application/grpc(?:[+;]|\s*\Z)")
# What decides whether a request is one of gRPC's, and what no such request has.
DECIDES_GRPC: Final = (b"content-type",)
NOT_OF_GRPC: Final = (b"access-control-request-method",)
_PSEUDO: Final = frozenset((b":method", b":scheme", b":path", b":authority", b":protocol"))


def _malformed(why: str) -> StreamFault:
    return StreamFault(ErrorCode.PROTOCOL_ERROR, why)


def check_request(fields: Sequence[Field]) -> None:
    """
    Raises:
        StreamFault: the request is malformed and may not be passed on.
    """
    pseudo: dict[bytes, bytes] = {}
    regular = False
    for name, value, _, flaw in fields:
        if flaw:
            raise _malformed(flaw)
        if name[:1] != b":":
            regular = True
        elif regular:
            raise _malformed("pseudo-header field after a regular one")
        elif name not in _PSEUDO or name in pseudo:
            raise _malformed("unknown or repeated pseudo-header field")
        else:
            pseudo[name] = value
    _check_pseudo(pseudo)


def _check_pseudo(pseudo: dict[bytes, bytes]) -> None:
    method = pseudo.get(b":method")
    if not method:
        raise _malformed(":method is missing")
    if method == b"CONNECT" and b":protocol" not in pseudo:
        if b":scheme" in pseudo or b":path" in pseudo or not pseudo.get(b":authority"):
            raise _malformed("CONNECT takes :authority only")
        return
    if not pseudo.get(b":scheme") or not pseudo.get(b":path"):
        raise _malformed(":scheme or :path is missing")


def check_grpc(fields: Sequence[Field]) -> None:
    """Whether it is a call of gRPC's, as its protocol over HTTP/2 tells one from others.

    Raises:
        GrpcWeb, Preflight: it is a browser's call, or the question that comes before one.
        NotGrpc: it is something else.
    """
    for name, value, _, _ in fields:
        if name in DECIDES_GRPC:
            if _GRPC.match(value):
                return
            if value.startswith(b"application/grpc-web"):
                raise GrpcWeb
        if name in NOT_OF_GRPC:
            raise Preflight
    raise NotGrpc


def check_trailers(fields: Sequence[Field]) -> None:
    """
    Raises:
        StreamFault: as for a request; trailers have no pseudo-header fields either.
    """
    for name, _, _, flaw in fields:
        if flaw or name[:1] == b":":
            raise _malformed(flaw or "pseudo-header field in trailers")
