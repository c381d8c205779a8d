"""What a client is told whose certificate is not believed: the least of HTTP/2 that can say it.

Nothing is routed and no header field is read. With an error, each request is answered with it.
Without, the client is asked to connect again before any request of its own was taken: clients of
gRPC do so by themselves, and repeat their calls (RFC 9113 section 6.8).
"""

from __future__ import annotations

from typing import Final

from torpor_provisioner.errors import TorporError
from torpor_router.errors import NotHttp2
from torpor_router.h2 import wire
from torpor_router.h2.preface import Http1, Preface
from torpor_router.h2.replies import answer
from torpor_router.h2.wire import ErrorCode, Kind, Setting

MOST_ANSWERS: Final = 100
_SETTINGS: Final = wire.settings(
    (
        (Setting.HEADER_TABLE_SIZE, 0),
        (Setting.MAX_CONCURRENT_STREAMS, MOST_ANSWERS),
        (Setting.INITIAL_WINDOW_SIZE, 0),
    )
)


class Explanation:
    """Of one connection's, behind TLS; `agreed` is whether ALPN agreed on HTTP/2.

    `decided` once a request has come; `over` once nothing is left to be said.
    """

    def __init__(self, error: TorporError | None, *, agreed: bool) -> None:
        self._error = error
        self._preface: Preface | None = Preface(agreed=agreed)
        self._unread = b""
        self._answers = 0
        self._last_stream = 0
        self._replies: list[bytes] = []
        self.decided = False
        self.over = False

    def __repr__(self) -> str:
        return f"<Explanation of {self._error or 'nothing'}, {self._answers} answers>"

    def feed(self, data: bytes) -> bytes:
        """What is to be said to it."""
        if self._preface is not None:
            data = self._greet(self._preface, data)
        self._unread += data
        at = 0
        while not self.over and (end := self._end_of_frame(at)) is not None:
            word, flags, stream = wire.unpack_header(self._unread, at)
            payload = self._unread[at + wire.HEADER_SIZE : end]
            self._take(word & 0xFF, flags, stream & wire.STREAM_MASK, payload)
            at = end
        self._unread = self._unread[at:]
        replies, self._replies = b"".join(self._replies), []
        return replies

    def goodbye(self) -> bytes:
        """The end, if it has not come yet."""
        if self.over:
            return b""
        self._leave(ErrorCode.NO_ERROR)
        return self._replies.pop()

    def _greet(self, preface: Preface, data: bytes) -> bytes:
        try:
            rest = preface.feed(data)
        except Http1 as error:
            self._say_last(error.response(over_tls=True))
            return b""
        except NotHttp2:
            self._leave(ErrorCode.PROTOCOL_ERROR)
            return b""
        if rest is None:
            return b""
        self._preface = None
        self._replies.append(_SETTINGS)
        return rest

    def _end_of_frame(self, at: int) -> int | None:
        """Where the frame that begins there ends; None while it is incomplete."""
        if len(self._unread) - at < wire.HEADER_SIZE:
            return None
        size = wire.unpack_header(self._unread, at)[0] >> 8
        if size > wire.DEFAULT_MAX_FRAME:
            self._leave(ErrorCode.FRAME_SIZE_ERROR)
            return None
        end = at + wire.HEADER_SIZE + size
        return end if end <= len(self._unread) else None

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == Kind.SETTINGS and not flags & wire.ACK:
            self._replies.append(wire.SETTINGS_ACK)
        elif kind == Kind.PING and not flags & wire.ACK:
            self._replies.append(wire.ping_ack(payload))
        elif kind == Kind.HEADERS and stream > self._last_stream:
            self._answer(stream, ended=bool(flags & wire.END_STREAM))

    def _answer(self, stream: int, *, ended: bool) -> None:
        self.decided = True
        if self._error is None:
            self._leave(ErrorCode.NO_ERROR)
            return
        self._last_stream = stream
        self._replies.append(answer(stream, self._error, ended=ended))
        self._answers += 1
        if self._answers == MOST_ANSWERS:
            self._leave(ErrorCode.ENHANCE_YOUR_CALM)

    def _leave(self, code: ErrorCode) -> None:
        why = str(self._error) if self._error is not None else "connect again"
        greeting = b"" if self._preface is None else _SETTINGS
        self._say_last(greeting + wire.goaway(self._last_stream, code, why))

    def _say_last(self, octets: bytes) -> None:
        self._replies.append(octets)
        self.decided = self.over = True
