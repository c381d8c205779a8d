"""SETTINGS as values (RFC 9113 section 6.5)."""

from __future__ import annotations

from struct import iter_unpack
from typing import Final

from torpor_router.h2.faults import ConnectionFault
from torpor_router.h2.wire import (
    BIGGEST_FRAME,
    BIGGEST_WINDOW,
    DEFAULT_MAX_FRAME,
    ErrorCode,
    Setting,
)

Values = dict[int, int]

# The registered ones, and gRPC's own (C-core's binary metadata, frame size and security frame).
# Others mean nothing to anybody here, and a peer could make us keep any number of them.
_KNOWN: Final = frozenset((*range(1, 10), *range(0xFE03, 0xFE06)))


def parse(payload: bytes) -> Values:
    """Read the values whose identifiers are known; of a repeated one the last.

    Raises:
        ConnectionFault: a size that is no multiple of six, or a value out of range.
    """
    if len(payload) % 6:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS size is no multiple of 6")
    values: Values = {}
    for key, value in iter_unpack(">HI", payload):
        _check(key, value)
        if key in _KNOWN:
            values[key] = value
    return values


def _check(key: int, value: int) -> None:
    if key == Setting.ENABLE_PUSH and value > 1:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "ENABLE_PUSH is neither 0 nor 1")
    if key == Setting.INITIAL_WINDOW_SIZE and value > BIGGEST_WINDOW:
        raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE over 2^31-1")
    if key == Setting.MAX_FRAME_SIZE and not DEFAULT_MAX_FRAME <= value <= BIGGEST_FRAME:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "MAX_FRAME_SIZE out of range")
