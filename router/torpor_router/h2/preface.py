"""The client's connection preface (RFC 9113 section 3.4), and what comes in its place."""

from __future__ import annotations

import re

from torpor_router.errors import NotHttp2
from torpor_router.h2.wire import PREFACE

_HTTP_1 = re.compile(rb"[A-Z]{3,20} [^\r\n]* HTTP/1\.[01]\r?\n", re.ASCII)
_START_OF_HTTP_1 = re.compile(rb"[A-Z]{1,20}( [^\r\n]*)?\r?\Z", re.ASCII)
_LONGEST_LINE = 8_192


class Http1(NotHttp2):
    """An HTTP/1 request: it gets an answer that its sender can read."""

    def response(self) -> bytes:
        body = f"{self}\n".encode()
        return (
            b"HTTP/1.1 426 Upgrade Required\r\n"
            b"Connection: close, Upgrade\r\n"
            b"Upgrade: h2c\r\n"
            b"Content-Type: text/plain; charset=utf-8\r\n"
            b"Content-Length: %d\r\n"
            b"\r\n" % len(body)
        ) + body


class Preface:
    """Gathers the preface from reads of any size."""

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen = b""

    def feed(self, data: bytes) -> bytes | None:
        """What follows the preface; None while it is incomplete.

        Raises:
            Http1: an HTTP/1 request line came instead.
            NotHttp2: something else did.
        """
        seen = self._seen = self._seen + data
        if seen.startswith(PREFACE):
            return seen[len(PREFACE) :]
        if PREFACE.startswith(seen):
            return None
        if _HTTP_1.match(seen):
            raise Http1
        if len(seen) < _LONGEST_LINE and _START_OF_HTTP_1.match(seen):
            return None
        raise NotHttp2
