"""The client's connection preface (RFC 9113 section 3.4), and what comes in its place."""

from __future__ import annotations

import re
from typing import Final

from torpor_router.errors import NotHttp2
from torpor_router.h2.wire import PREFACE

_HTTP_1: Final = re.compile(rb"[A-Z]{3,20} [^\r\n]* HTTP/1\.[01]\r?\n", re.ASCII)
_START_OF_HTTP_1: Final = re.compile(rb"[A-Z]{1,20}( [^\r\n]*)?\r?\Z", re.ASCII)
_LONGEST_LINE: Final = 8_192


class Http1(NotHttp2):
    """An HTTP/1 request: it gets an answer that its sender can read."""

    def response(self, *, over_tls: bool) -> bytes:
        """426; over TLS it names no protocol to upgrade to, for there HTTP/2 is agreed by ALPN."""
        upgrade = () if over_tls else ("Connection: Upgrade", "Upgrade: h2c")
        return http1_response("426 Upgrade Required", str(self), *upgrade)


def http1_response(status: str, text: str, *fields: str) -> bytes:
    """A whole response in HTTP/1.1 that ends its connection."""
    body = f"{text}\n".encode()
    head = (
        f"HTTP/1.1 {status}",
        "Connection: close",
        *fields,
        "Content-Type: text/plain; charset=utf-8",
        f"Content-Length: {len(body)}",
    )
    return "\r\n".join((*head, "", "")).encode() + body


class Preface:
    """Gathers the preface from reads of any size.

    Over TLS, HTTP/2 should be `agreed` on by ALPN (RFC 9113 section 3.2). A client that offers
    none and begins with the preface all the same is taken: docker buildx does so.
    """

    __slots__ = ("_agreed", "_seen")

    def __init__(self, *, agreed: bool = True) -> None:
        self._agreed = agreed
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
            raise Http1(*(() if self._agreed else ("the client offers no ALPN 'h2'",)))
        if len(seen) < _LONGEST_LINE and _START_OF_HTTP_1.match(seen):
            return None
        raise NotHttp2
