"""DATA that a client sent before it knew its worker's window (RFC 9113 section 6.9.2).

Until the worker's SETTINGS are known, a client may have sent up to 65,535 octets on the strength
of the default window. A worker whose window is smaller gets them as it opens it. Client and
worker count the same octets, so what the client may send afterwards needs no correction.
"""

from __future__ import annotations

from collections import deque

from torpor_router.h2.wire import (
    BIGGEST_WINDOW,
    DEFAULT_MAX_FRAME,
    END_STREAM,
    HEADER_SIZE,
    Kind,
    frame,
    unpack_header,
)


class Paced:
    """The frames of one stream that wait for the worker's window."""

    __slots__ = ("frames", "window")

    def __init__(self, frames: list[bytes], window: int) -> None:
        self.frames = deque(frames)
        self.window = window

    def __repr__(self) -> str:
        return f"<Paced {len(self.frames)} frames, window {self.window}>"

    @property
    def octets(self) -> int:
        """Of DATA that is still here."""
        return sum(data_size(each) for each in self.frames)

    def release(self, room: int = BIGGEST_WINDOW) -> list[bytes]:
        """The frames that the window allows now, and `room` octets of the connection's besides.

        The last of them is cut to fit.
        """
        out: list[bytes] = []
        while self.frames:
            head = self.frames[0]
            size, most = data_size(head), max(0, min(self.window, room))
            if size > most:
                if not most:
                    break
                head, self.frames[0] = _cut(head, most)
                size = most
            else:
                self.frames.popleft()
            out.append(head)
            self.window -= size
            room -= size
        return out


def together(frames: list[bytes]) -> list[bytes]:
    """One stream's frames with the same content in as few as can be: a client that sends single
    octets would else make us keep seventy for each."""
    data, end, rest = bytearray(), 0, []
    stream = unpack_header(frames[0], 0)[2]
    for each in frames:
        word, flags, _ = unpack_header(each, 0)
        if word & 0xFF == Kind.DATA:
            data += each[HEADER_SIZE:]
            end = flags & END_STREAM
        else:  # trailers: the last frame
            rest.append(each)
    return (data_frames(stream, bytes(data), end=end) if data or end else []) + rest


def message_in(frames: list[bytes]) -> bytes | None:
    """The one message of a stream's frames, as gRPC frames it; None if it is not just one."""
    octets = b"".join(each[HEADER_SIZE:] for each in frames if data_size(each))
    size = int.from_bytes(octets[1:5], "big")
    return octets[5:] if octets[:1] == b"\0" and len(octets) == 5 + size else None


def data_frames(stream: int, octets: bytes, *, end: int) -> list[bytes]:
    """DATA frames of the size that every peer takes; `end` is END_STREAM or 0."""
    cuts = range(0, max(len(octets), 1), DEFAULT_MAX_FRAME)
    return [
        frame(
            Kind.DATA,
            end if at + DEFAULT_MAX_FRAME >= len(octets) else 0,
            stream,
            octets[at : at + DEFAULT_MAX_FRAME],
        )
        for at in cuts
    ]


def data_size(whole: bytes) -> int:
    """Octets of DATA in a frame."""
    word = unpack_header(whole, 0)[0]
    return word >> 8 if word & 0xFF == Kind.DATA else 0


def _cut(whole: bytes, size: int) -> tuple[bytes, bytes]:
    _, flags, stream = unpack_header(whole, 0)
    at = HEADER_SIZE + size
    first = frame(Kind.DATA, flags & ~END_STREAM, stream, whole[HEADER_SIZE:at])
    return first, frame(Kind.DATA, flags, stream, whole[at:])
