"""SETTINGS, and how the relay passes one side's on to the other (RFC 9113 section 6.5).

Three values are the relay's own on each leg: the dynamic tables stay empty, nothing is pushed,
and frames stay small enough to be passed whole. All else is between client and worker.
"""

from __future__ import annotations

from struct import iter_unpack

from torpor_router.h2.faults import ConnectionFault
from torpor_router.h2.wire import (
    BIGGEST_FRAME,
    BIGGEST_WINDOW,
    DEFAULT_MAX_FRAME,
    DEFAULT_WINDOW,
    ErrorCode,
    Setting,
)

Values = dict[int, int]

# A frame passes on when it has come whole, so that a worker's death never leaves a torn frame
# on the client's connection. This bounds what is kept for it.
MAX_FRAME_CAP = 65_536


def parse(payload: bytes) -> Values:
    """The values, the last of a repeated one.

    Raises:
        ConnectionFault: a size that is no multiple of six, or a value out of range.
    """
    if len(payload) % 6:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS size is no multiple of 6")
    values: Values = {}
    for key, value in iter_unpack(">HI", payload):
        _check(key, value)
        values[key] = value
    return values


def _check(key: int, value: int) -> None:
    if key == Setting.ENABLE_PUSH and value > 1:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "ENABLE_PUSH is neither 0 nor 1")
    if key == Setting.INITIAL_WINDOW_SIZE and value > BIGGEST_WINDOW:
        raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE over 2^31-1")
    if key == Setting.MAX_FRAME_SIZE and not DEFAULT_MAX_FRAME <= value <= BIGGEST_FRAME:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "MAX_FRAME_SIZE out of range")


def opening(max_streams: int, max_header_list: int) -> Values:
    """What a client is told before its satellite is there: nothing may be sent on a stream."""
    return {
        Setting.HEADER_TABLE_SIZE: 0,
        Setting.MAX_CONCURRENT_STREAMS: max_streams,
        Setting.INITIAL_WINDOW_SIZE: 0,
        Setting.MAX_HEADER_LIST_SIZE: max_header_list,
    }


def for_client(worker: Values, *, first: bool, max_streams: int, max_header_list: int) -> Values:
    """A worker's SETTINGS as the client is to see them."""
    values = dict(worker)
    values.pop(Setting.HEADER_TABLE_SIZE, None)
    values.pop(Setting.ENABLE_PUSH, None)
    _cap(values, Setting.MAX_CONCURRENT_STREAMS, max_streams)
    _cap(values, Setting.MAX_HEADER_LIST_SIZE, max_header_list)
    _cap(values, Setting.MAX_FRAME_SIZE, MAX_FRAME_CAP)
    if first:  # undoes the 0 of `opening`
        values.setdefault(Setting.INITIAL_WINDOW_SIZE, DEFAULT_WINDOW)
    return values


def for_worker(client: Values, *, first: bool) -> Values:
    """A client's SETTINGS as the worker is to see them."""
    values = dict(client)
    values.pop(Setting.HEADER_TABLE_SIZE, None)
    values.pop(Setting.ENABLE_PUSH, None)
    _cap(values, Setting.MAX_FRAME_SIZE, MAX_FRAME_CAP)
    if first:
        values = {Setting.HEADER_TABLE_SIZE: 0, Setting.ENABLE_PUSH: 0, **values}
    return values


def _cap(values: Values, key: Setting, most: int) -> None:
    if key in values:
        values[key] = min(values[key], most)
