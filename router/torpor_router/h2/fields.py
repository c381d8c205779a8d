"""One header field, and whether it may stand in a message (RFC 9113 section 8.2)."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
# whether a value has an octet that none may have, or that may not stand at an end
bad_value: Final = re.compile(rb"[\x00\r\n]|^[ \t]|[ \t]$").search
_CONNECTION_SPECIFIC: Final = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade")
)


class Field(NamedTuple):
    """`wire` are the octets that represent the field in a stateless block; `flaw` says why it
    makes its message malformed, if it does."""

    name: bytes
    value: bytes
    wire: bytes
    flaw: str = ""


def flaw(name: bytes, value: bytes) -> str:
    """What is wrong with the field by itself; empty if nothing is."""
    # gRPC clients whose token is empty send "Bearer ": they are told so by a code, not by a reset
    if name == b"authorization":
        value = value.rstrip(b" ")
    # gRPC C-core sends binary metadata raw once both ends have agreed to it in SETTINGS.
    if bad_value(value) and not name.endswith(b"-bin"):
        return "forbidden octet in a field value"
    if name[:1] == b":":
        return ""
    if not _NAME.fullmatch(name):
        return "forbidden octet in a field name"
    if name in _CONNECTION_SPECIFIC or (name == b"te" and value != b"trailers"):
        return "connection-specific field"
    return ""
