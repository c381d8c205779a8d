"""Requests seen before on a connection: same octets, same decision.

Most clients send the same block for the same method every time, or with another `grpc-timeout`;
the first is one look-up, the second costs reading its fields.
"""

from __future__ import annotations

from torpor_router.h2.wire import Kind
from torpor_router.routing import Ask

LARGEST = 8_192  # octets; a longer block is read anew each time
MOST = 64 * 1024  # octets that a connection may make us remember, with what keeping them takes
_KEEPING = 400  # octets: the objects around an entry


class CachedRequest:
    """One request, decided."""

    __slots__ = ("ask", "block", "tick", "word")

    def __init__(self, ask: Ask | None, block: bytes, tick: int) -> None:
        self.ask = ask
        self.block = block  # as the worker gets it
        self.word = len(block) << 8 | Kind.HEADERS
        self.tick = tick

    def __repr__(self) -> str:
        return f"<CachedRequest {self.ask}, {len(self.block)} octets>"


class RequestCache(dict[bytes, CachedRequest]):
    """By the octets that a request came in. Whoever sends ever new ones only makes it forget."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        super().__init__()
        self._left = MOST

    def keep(self, block: bytes, known: CachedRequest) -> None:
        if len(block) > LARGEST or block in self:
            return
        size = len(block) + len(known.block) + _KEEPING
        if size > self._left:
            self.forget()
        self._left -= size
        self[block] = known

    def forget(self) -> None:
        self.clear()
        self._left = MOST
