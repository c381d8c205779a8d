"""Answers in gRPC's words that need no message (its protocol over HTTP/2, "Trailers-Only")."""

from __future__ import annotations

from typing import Final

from torpor_provisioner.errors import TorporError
from torpor_router.h2 import wire
from torpor_router.h2.blocks import TABLE_SIZE_ZERO, encode
from torpor_router.h2.wire import ErrorCode

_STATUS_200: Final = b"\x88"  # index 8 of the static table
_CONTENT_TYPE: Final = encode(((b"content-type", b"application/grpc"),))
RESPONSE: Final = TABLE_SIZE_ZERO + _STATUS_200 + _CONTENT_TYPE  # the block that begins each
_UNESCAPED: Final = frozenset(range(0x20, 0x7F)) - {ord("%")}


def percent_encoded(text: str) -> bytes:
    """As `grpc-message` wants it: anything outside printable ASCII, and %, as %XX."""
    return b"".join(
        bytes((octet,)) if octet in _UNESCAPED else b"%%%02X" % octet for octet in text.encode()
    )


def answer(stream: int, error: TorporError, *, ended: bool) -> bytes:
    """A whole response, in a single HEADERS frame: status, code and remedy.

    A client that has not `ended` its request is told to stop (RFC 9113 section 8.1).
    """
    block = RESPONSE + status(error)
    return wire.headers(stream, block, end_stream=True) + (b"" if ended else stop(stream))


def status(error: TorporError) -> bytes:
    """The block of the trailers that tell of it."""
    return encode(
        (
            (b"grpc-status", b"%d" % error.status),
            (b"grpc-message", percent_encoded(str(error))),
            *((name.encode(), value.encode()) for name, value in error.fields),
        )
    )


def stop(stream: int) -> bytes:
    return wire.rst_stream(stream, ErrorCode.NO_ERROR)
