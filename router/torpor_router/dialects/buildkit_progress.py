"""A wake as a step of a BuildKit build: ``moby.buildkit.v1.Control/Status``.

buildctl and docker buildx show it as any other step: with its name, its lines, and the time that
it has taken. (A `VertexStatus` would be shown as octets of a download.)
"""

from __future__ import annotations

import time
from hashlib import sha256
from typing import ClassVar

from google.protobuf.timestamp_pb2 import Timestamp

from torpor_router.dialects.messages.buildkit_status_pb2 import (
    StatusResponse,
    Vertex,
    VertexLog,
)

_STDOUT = 1


class Step:
    """One step, from `since` (in seconds since 1970)."""

    after: ClassVar[float] = 0.0
    repeated: ClassVar[bool] = False

    def __init__(self, title: str, since: float) -> None:
        self._digest = f"sha256:{sha256(f'{title} {since}'.encode()).hexdigest()}"
        self._name = f"[torpor] {title}"
        self._since = _timestamp(since)

    def __repr__(self) -> str:
        return f"<Step {self._name}>"

    def begin(self) -> bytes:
        return self._message(self._vertex())

    def line(self, text: str) -> bytes:
        line = VertexLog(
            vertex=self._digest,
            timestamp=_timestamp(time.time()),
            stream=_STDOUT,
            msg=f"{text}\n".encode(),
        )
        return StatusResponse(logs=[line]).SerializeToString()

    def end(self, error: str = "") -> bytes:
        vertex = self._vertex()
        vertex.completed.CopyFrom(_timestamp(time.time()))
        vertex.error = error
        return self._message(vertex)

    def continued(self, message: bytes) -> bytes:
        return message

    def _vertex(self) -> Vertex:
        return Vertex(digest=self._digest, name=self._name, started=self._since)

    @staticmethod
    def _message(vertex: Vertex) -> bytes:
        return StatusResponse(vertexes=[vertex]).SerializeToString()


def _timestamp(seconds: float) -> Timestamp:
    whole = int(seconds)
    return Timestamp(seconds=whole, nanos=int((seconds - whole) * 1e9))
