"""What a client hears that speaks plaintext to a listener with TLS."""

from __future__ import annotations

import asyncio
from typing import cast

from torpor_router.errors import NotHttp2, NotTls
from torpor_router.h2.preface import Http1, Preface, http1_response


class PlaintextRefusal(asyncio.Protocol):
    """Answers 400 in HTTP/1.1, to HTTP/2 as well, and ends the connection.

    (A client of HTTP/2 that got SETTINGS and GOAWAY would call the connection good, and reconnect
    at once, again and again; so it fails, and says that it met HTTP/1.)
    """

    def __init__(self) -> None:
        self._preface: Preface | None = Preface()
        self._transport: asyncio.Transport
        self._answered = asyncio.Event()
        self._closed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of asyncio.Transport, but are none
        self._transport = cast(asyncio.Transport, transport)

    async def finish(self, patience: float, linger: float) -> None:
        """Wait until the client has gone, but only for so many seconds before the answer, and
        after it."""
        try:
            async with asyncio.timeout(patience):
                await self._answered.wait()
            async with asyncio.timeout(linger):
                await self._closed.wait()
        finally:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._preface is None:
            return  # to close with octets unread would destroy the answer on its way
        answer = http1_response("400 Bad Request", str(NotTls()))
        try:
            if self._preface.feed(data) is None:
                return
        except Http1:
            pass
        except NotHttp2:
            answer = b""
        self._preface = None
        self._transport.write(answer)
        self._transport.write_eof()
        self._answered.set()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._answered.set()
        self._closed.set()
