"""Decisions made before on a connection: what decides is the same, so the decision is.

A whole block seen before costs one look-up. Of another one the fields that decide are put together
(`h2.outline`); that costs a few more, however its trace's id, its timeout or its path differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Generic, TypeVar

from torpor_router.h2.blocks import HeaderLimits
from torpor_router.h2.fields import Field
from torpor_router.h2.outline import OutlineReader
from torpor_router.h2.requests import DECIDES_GRPC, NOT_OF_GRPC
from torpor_router.h2.wire import Kind
from torpor_router.relay.methods import Methods
from torpor_router.routing import Ask, ToSatellite
from torpor_router.targets import DECIDING_PATHS, OWN_METADATA

LARGEST: Final = 8_192  # octets; a longer block is read anew each time
# Octets that each table may keep for a connection, with what keeping them takes
MOST: Final = 64 * 1024
_KEEPING: Final = 400  # octets: the objects around an entry
_IN_A_ROW: Final = 32  # blocks that were all new; after them only one in so many is remembered

_CUT: Final = tuple(sorted(OWN_METADATA))
OUTLINES: Final = OutlineReader(
    deciding=DECIDES_GRPC, cut=_CUT, never=NOT_OF_GRPC, paths=DECIDING_PATHS
)
_Entry = TypeVar("_Entry")


class Decision:
    """Where requests go; `tick` is when that was last found to stand. `cut` are the fields that
    the worker does not get, as `OUTLINES` counts them."""

    __slots__ = ("ask", "cut", "tick")

    def __init__(self, ask: Ask, cut: frozenset[int], tick: int) -> None:
        self.ask = ask
        self.cut = cut
        self.tick = tick

    def __repr__(self) -> str:
        return f"<Decision {self.ask}>"


class CachedRequest:
    """One request as the worker gets it; `word` begins its frame, `method` its stream's state."""

    __slots__ = ("block", "decision", "method", "word")

    def __init__(self, decision: Decision, block: bytes, method: int = 0) -> None:
        self.decision = decision
        self.block = block
        self.word = len(block) << 8 | Kind.HEADERS
        self.method = method

    def __repr__(self) -> str:
        return f"<CachedRequest {self.decision}, {len(self.block)} octets>"


class BoundedTable(dict[bytes, _Entry], Generic[_Entry]):
    """Something by octets. Ever new ones only make it forget."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        super().__init__()
        self._left = MOST

    def keep(self, octets: bytes, entry: _Entry, size: int = 0) -> None:
        """Remember `entry`, which itself takes so many octets."""
        if len(octets) > LARGEST or octets in self:
            return
        size += len(octets) + _KEEPING
        if size > self._left:
            self.forget()
        self._left -= size
        self[octets] = entry

    def forget(self) -> None:
        self.clear()
        self._left = MOST


class RequestCache:
    """`by_block` has whole blocks as they came, `by_key` what decided."""

    __slots__ = ("_limits", "_methods", "_new", "by_block", "by_key")

    def __init__(self, limits: HeaderLimits, methods: Methods) -> None:
        self._limits = limits
        self._methods = methods
        self._new = 0
        self.by_block: BoundedTable[CachedRequest] = BoundedTable()
        self.by_key: BoundedTable[Decision] = BoundedTable()

    def __repr__(self) -> str:
        return f"<RequestCache of {len(self.by_block)} blocks, {len(self.by_key)} decisions>"

    def find(self, block: bytes) -> CachedRequest | None:
        """What is to become of a block that is not among `by_block`, if that was decided."""
        outline = OUTLINES.read(block, self._limits)
        if outline is None:
            return None
        decision = self.by_key.get(outline.key)
        if decision is None:
            return None
        method = self._methods[outline.path]
        request = CachedRequest(decision, outline.cut(block, decision.cut), method)
        self._new = new = self._new + 1
        if new < _IN_A_ROW or not new % _IN_A_ROW:
            self.by_block.keep(block, request, len(request.block))
        return request

    def decided(self, fields: Sequence[Field], target: ToSatellite, tick: int) -> None:
        """Remember a decision, if all that the worker does not get may be cut out of a block."""
        outline = OUTLINES.read(b"".join([each.wire for each in fields]), self._limits)
        if outline is not None and target.consumed <= OWN_METADATA:
            cut = frozenset(_CUT.index(name) for name in target.consumed)
            self.by_key.keep(outline.key, Decision(target.ask, cut, tick))

    def forget(self) -> None:
        self.by_block.forget()
        self.by_key.forget()
