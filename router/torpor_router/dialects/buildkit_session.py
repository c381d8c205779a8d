"""The session of a BuildKit build, kept alive over a wake: ``moby.buildkit.v1.Control/Session``.

The stream carries an HTTP/2 connection in which the worker is the client, and the caller's machine
the server that hands out files and secrets. Go's server closes it where no preface comes within
10 s, and no SETTINGS within 2 s of that. So the door begins it in the worker's name, with SETTINGS
that say nothing; the worker's own preface is left out, and its SETTINGS come second.
"""

from __future__ import annotations

from typing import ClassVar

from google.protobuf.message import DecodeError

from torpor_router.dialects.messages.buildkit_status_pb2 import BytesMessage
from torpor_router.h2 import wire


class Session:
    after: ClassVar[float] = 3.0  # short wakes need nothing of this
    repeated: ClassVar[bool] = True

    def __init__(self, title: str, since: float) -> None:
        """As `progress.Narrator` demands; there is nobody to tell."""

    def begin(self) -> bytes:
        return BytesMessage(data=wire.PREFACE + wire.settings(())).SerializeToString()

    def line(self, text: str) -> bytes:  # noqa: ARG002 - the protocol's
        return b""

    def end(self, error: str = "") -> bytes:  # noqa: ARG002 - the protocol's
        return b""

    def continued(self, message: bytes) -> bytes | None:
        try:
            data = BytesMessage.FromString(message).data
        except DecodeError:
            return None
        if not data.startswith(wire.PREFACE):
            return None
        rest = data[len(wire.PREFACE) :]
        return BytesMessage(data=rest).SerializeToString() if rest else b""
