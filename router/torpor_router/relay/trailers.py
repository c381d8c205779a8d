"""A worker's header blocks, where the client has had HEADERS of the door's already.

The first is left out, or becomes trailers if the worker ends with it ("Trailers-Only", in gRPC's
protocol over HTTP/2).
"""

from __future__ import annotations

from typing import Final

from torpor_router.errors import WorkerCompresses, WorkerNotGrpc
from torpor_router.h2.fields import Field

_UNCOMPRESSED: Final = (b"", b"identity")


def check_left_out(fields: list[Field]) -> None:
    """Check that nothing is lost when this answer's HEADERS are left out.

    Raises:
        WorkerNotGrpc, WorkerCompresses: the DATA behind them would be misread.
    """
    found = {name: value for name, value, *_ in fields}
    status, kind = found.get(b":status", b""), found.get(b"content-type", b"")
    if status != b"200" or not kind.startswith(b"application/grpc"):
        raise WorkerNotGrpc(_described(status, kind))
    encoding = found.get(b"grpc-encoding", b"")
    if encoding not in _UNCOMPRESSED:
        raise WorkerCompresses(encoding.decode("ascii", "replace"))


def as_trailers(fields: list[Field]) -> bytes:
    """The block of trailers that tell what these HEADERS did.

    Raises:
        WorkerNotGrpc: they tell nothing that a gRPC client understands.
    """
    found = {name: value for name, value, *_ in fields}
    if b"grpc-status" not in found:
        raise WorkerNotGrpc(_described(found.get(b":status", b""), found.get(b"content-type", b"")))
    return b"".join(
        octets
        for name, _, octets, _ in fields
        if not name.startswith(b":") and name != b"content-type"
    )


def is_interim(fields: list[Field]) -> bool:
    """Whether these HEADERS come before the answer's own (RFC 9110 section 15.2)."""
    return any(name == b":status" and value.startswith(b"1") for name, value, *_ in fields)


def _described(status: bytes, kind: bytes) -> str:
    words = f"HTTP status {status.decode('ascii', 'replace')}"
    return f"{words}, {kind.decode('ascii', 'replace')}" if kind else words
