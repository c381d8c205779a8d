"""Requests seen before on a connection: same octets, same decision.

Most clients send the same block for the same method every time, or with another `grpc-timeout`;
the first is one look-up, the second costs reading its fields.
"""

from __future__ import annotations

from collections.abc import Iterable

from torpor_router.h2.fields import Field
from torpor_router.h2.wire import Kind
from torpor_router.routing import Ask

LARGEST = 8_192  # octets; a longer block is read anew each time
MOST = 64 * 1024  # octets that each table may keep for a connection, with what keeping them takes
_KEEPING = 400  # octets: the objects around an entry


class CachedRequest:
    """One request, decided; `tick` is when the decision was last found to stand."""

    __slots__ = ("ask", "block", "tick", "word")

    def __init__(self, ask: Ask, block: bytes, tick: int) -> None:
        self.ask = ask
        self.block = block  # as the worker gets it
        self.word = len(block) << 8 | Kind.HEADERS
        self.tick = tick

    def __repr__(self) -> str:
        return f"<CachedRequest {self.ask}, {len(self.block)} octets>"

    def followed_by(self, fields: Iterable[Field]) -> CachedRequest:
        """The same with some more fields."""
        return CachedRequest(
            self.ask, b"".join((self.block, *(each.wire for each in fields))), self.tick
        )


class RequestCache:
    """`by_block` has whole blocks as they came, `by_rest` those without their timeout."""

    __slots__ = ("by_block", "by_rest")

    def __init__(self) -> None:
        self.by_block = BoundedTable()
        self.by_rest = BoundedTable()

    def forget(self) -> None:
        self.by_block.forget()
        self.by_rest.forget()


class BoundedTable(dict[bytes, CachedRequest]):
    """Requests by octets. Ever new ones only make it forget."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        super().__init__()
        self._left = MOST

    def keep(self, octets: bytes, request: CachedRequest) -> None:
        if len(octets) > LARGEST or octets in self:
            return
        size = len(octets) + len(request.block) + _KEEPING
        if size > self._left:
            self.forget()
        self._left -= size
        self[octets] = request

    def forget(self) -> None:
        self.clear()
        self._left = MOST
