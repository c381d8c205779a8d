"""Whether a header list is a well-formed request (RFC 9113 sections 8.2 and 8.3)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from torpor_router.h2.blocks import Field
from torpor_router.h2.faults import StreamFault
from torpor_router.h2.wire import ErrorCode

_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_BAD_VALUE = re.compile(rb"[\x00\r\n]|^[ \t]|[ \t]$")
_PSEUDO = frozenset((b":method", b":scheme", b":path", b":authority", b":protocol"))
_CONNECTION_SPECIFIC = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade")
)


def _malformed(why: str) -> StreamFault:
    return StreamFault(ErrorCode.PROTOCOL_ERROR, why)


def check_request(fields: Sequence[Field]) -> None:
    """
    Raises:
        StreamFault: the request is malformed and may not be passed on.
    """
    pseudo: dict[bytes, bytes] = {}
    regular = False
    for name, value, _ in fields:
        if name[:1] != b":":
            regular = True
            _check_regular(name, value)
            continue
        if regular:
            raise _malformed("pseudo-header field after a regular one")
        if name not in _PSEUDO or name in pseudo:
            raise _malformed("unknown or repeated pseudo-header field")
        if _BAD_VALUE.search(value):
            raise _malformed("forbidden octet in a pseudo-header field")
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


def check_trailers(fields: Sequence[Field]) -> None:
    """
    Raises:
        StreamFault: as for a request; trailers have no pseudo-header fields either.
    """
    for name, value, _ in fields:
        if name[:1] == b":":
            raise _malformed("pseudo-header field in trailers")
        _check_regular(name, value)


def _check_regular(name: bytes, value: bytes) -> None:
    if not _NAME.fullmatch(name):
        raise _malformed("forbidden octet in a field name")
    # gRPC C-core sends binary metadata raw once both ends have agreed to it in SETTINGS.
    if _BAD_VALUE.search(value) and not name.endswith(b"-bin"):
        raise _malformed("forbidden octet in a field value")
    if name in _CONNECTION_SPECIFIC or (name == b"te" and value != b"trailers"):
        raise _malformed("connection-specific field")
