"""What the router itself answers, in gRPC's words (the gRPC over HTTP/2 protocol)."""

from __future__ import annotations

from torpor_provisioner.errors import TorporError
from torpor_router.h2.blocks import TABLE_SIZE_ZERO, encode

_STATUS_200 = b"\x88"  # index 8 of the static table
_UNESCAPED = frozenset(range(0x20, 0x7F)) - {ord("%")}


def percent_encoded(text: str) -> bytes:
    """As `grpc-message` wants it: anything outside printable ASCII, and %, as %XX."""
    return b"".join(
        bytes((octet,)) if octet in _UNESCAPED else b"%%%02X" % octet for octet in text.encode()
    )


def trailers(error: TorporError) -> bytes:
    """The block that ends a response whose headers have passed."""
    return TABLE_SIZE_ZERO + _status(error)


def trailers_only(error: TorporError) -> bytes:
    """The block of a whole response: status, code and remedy."""
    return (
        TABLE_SIZE_ZERO
        + _STATUS_200
        + encode(((b"content-type", b"application/grpc"),))
        + _status(error)
    )


def _status(error: TorporError) -> bytes:
    return encode(
        (
            (b"grpc-status", b"%d" % error.status),
            (b"grpc-message", percent_encoded(str(error))),
            (b"x-torpor-code", error.code.encode()),
        )
    )
