"""The worker's answer to one call, gathered while it passes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from torpor_router.h2.fields import Field

_LARGEST: Final = 64 * 1024  # octets of an answer that are gathered
_PREFIX: Final = 5  # octets before a message (gRPC over HTTP/2, "Length-Prefixed-Message")


class Watched:
    """What came of the answer to a call of `method`, a path."""

    __slots__ = ("_octets", "method")

    def __init__(self, method: str) -> None:
        self.method = method
        self._octets = bytearray()

    def __repr__(self) -> str:
        return f"<Watched {self.method}, {len(self._octets)} octets>"

    def add(self, data: bytes) -> None:
        """Some more of its DATA; beyond what is gathered, none is kept."""
        if len(self._octets) <= _PREFIX + _LARGEST:
            self._octets += data

    def message(self, trailers: Iterable[Field]) -> bytes | None:
        """The message, if the answer was a single one, not compressed, and all was well."""
        size = int.from_bytes(self._octets[1:_PREFIX], "big")
        if size > _LARGEST or self._octets[:1] != b"\0" or len(self._octets) != _PREFIX + size:
            return None
        well = any(each.name == b"grpc-status" and each.value == b"0" for each in trailers)
        return bytes(self._octets[_PREFIX:]) if well else None
