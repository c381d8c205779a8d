"""Frame layout, numbers and builders (RFC 9113 sections 4, 6, 7 and 11)."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from struct import Struct
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADER_SIZE: Final = 9
DEFAULT_WINDOW: Final = 65_535
DEFAULT_MAX_FRAME: Final = 16_384
BIGGEST_FRAME: Final = (1 << 24) - 1
BIGGEST_WINDOW: Final = (1 << 31) - 1
STREAM_MASK: Final = (1 << 31) - 1  # the top bit of a stream id is reserved and ignored

# A frame header as three numbers: (length << 8 | kind), flags, stream id.
_HEADER: Final = Struct(">IBI")
unpack_header: Final = _HEADER.unpack_from
pack_header: Final = _HEADER.pack
_U32: Final = Struct(">I")
_SETTING: Final = Struct(">HI")


class Kind(IntEnum):
    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


# Plain integers: an IntFlag's `&` costs more than the rest of a frame's handling.
ACK: Final = 0x1
END_STREAM: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
PRIORITIZED: Final = 0x20


class ErrorCode(IntEnum):
    """RFC 9113 section 7."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


class Setting(IntEnum):
    """RFC 9113 section 6.5.2."""

    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return pack_header(len(payload) << 8 | kind, flags, stream) + payload


def moved(frame: bytes, stream: int) -> bytes:
    """The same frame, or HEADERS with its CONTINUATIONs, on another stream."""
    out: list[bytes] = []
    at = 0
    while at < len(frame):
        word, flags, _ = unpack_header(frame, at)
        end = at + HEADER_SIZE + (word >> 8)
        out += (pack_header(word, flags, stream), frame[at + HEADER_SIZE : end])
        at = end
    return b"".join(out)


def headers(
    stream: int, block: bytes, *, end_stream: bool, max_frame: int = DEFAULT_MAX_FRAME
) -> bytes:
    """A HEADERS frame, with as many CONTINUATIONs as `max_frame` makes necessary."""
    end = END_STREAM if end_stream else 0
    if len(block) <= max_frame:
        return pack_header(len(block) << 8 | Kind.HEADERS, end | END_HEADERS, stream) + block
    parts = [frame(Kind.HEADERS, end, stream, block[:max_frame])]
    for at in range(max_frame, len(block), max_frame):
        last = END_HEADERS if at + max_frame >= len(block) else 0
        parts.append(frame(Kind.CONTINUATION, last, stream, block[at : at + max_frame]))
    return b"".join(parts)


def settings(values: Iterable[tuple[int, int]]) -> bytes:
    return frame(Kind.SETTINGS, 0, 0, b"".join(_SETTING.pack(k, v) for k, v in values))


SETTINGS_ACK: Final = frame(Kind.SETTINGS, ACK, 0)


def ping_ack(payload: bytes) -> bytes:
    return frame(Kind.PING, ACK, 0, payload)


def goaway(last_stream: int, code: ErrorCode, debug: str = "") -> bytes:
    """`last_stream` is the highest id that was, or may have been, acted on (section 6.8)."""
    return frame(
        Kind.GOAWAY, 0, 0, _U32.pack(last_stream) + _U32.pack(code) + debug.encode()[:1024]
    )


def rst_stream(stream: int, code: ErrorCode) -> bytes:
    return frame(Kind.RST_STREAM, 0, stream, _U32.pack(code))


def window_update(stream: int, increment: int) -> bytes:
    return frame(Kind.WINDOW_UPDATE, 0, stream, _U32.pack(increment))


def u32(data: bytes, at: int) -> int:
    value: int = _U32.unpack_from(data, at)[0]
    return value
