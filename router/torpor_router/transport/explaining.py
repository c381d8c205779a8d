"""A connection on which a client is told why its certificate is not believed, and that is all."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import cast

from torpor_router.errors import CertificateNotBelieved
from torpor_router.transport.explanation import Explanation
from torpor_router.transport.lenient_tls import Ended, LenientTls

PATIENCE = 5.0  # seconds for the handshake and the first request
LINGER = 1.0  # seconds in which one that was answered may ask more, and then to read the end
MOST_OCTETS = 64 * 1024  # that are read

_WORDS = {"other CA": "it is of another CA", "wrong use": "it is not for clients"}


class Explaining(asyncio.Protocol):
    """With a host of which a handshake has failed for `reason` a moment ago.

    A client whose certificate is not believed for the same reason gets an `error`. All others are
    asked to connect again, and come by the door's own way in.
    """

    def __init__(self, tls: LenientTls, reason: str) -> None:
        self._tls = tls
        self.reason = reason
        self._words: Explanation | None = None  # from the end of the handshake on
        self._octets = 0
        self._left = False
        self._transport: asyncio.Transport
        self._decided = asyncio.Event()
        self._closed = asyncio.Event()
        self.error: CertificateNotBelieved | None = None

    def __repr__(self) -> str:
        return f"<Explaining {self.reason}, {self._words or 'handshake'}>"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of asyncio.Transport, but are none
        self._transport = cast(asyncio.Transport, transport)

    async def finish(self) -> None:
        """Wait until the client has gone, but not for long."""
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    await self._decided.wait()
                if self.error is not None:
                    async with asyncio.timeout(LINGER):
                        await self._closed.wait()
            self._leave()
            with suppress(TimeoutError):
                async with asyncio.timeout(LINGER):
                    await self._closed.wait()
        finally:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._octets += len(data)
        if self._octets > MOST_OCTETS:
            self._transport.abort()
        elif not self._left:  # to close with octets unread would destroy the answer on its way
            try:
                self._read(data)
            except Ended:
                self._leave()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._decided.set()
        self._closed.set()

    def _read(self, data: bytes) -> None:
        try:
            said = self._tls.feed(data)
        finally:
            self._transport.write(self._tls.outgoing())
        if not self._tls.agreed:
            return
        if self._words is None:
            if self._tls.disbelieved == self.reason:
                self.error = CertificateNotBelieved(_WORDS.get(self.reason, ""))
            self._words = Explanation(self.error, agreed=self._tls.http2)
        self._tls.say(self._words.feed(said))
        self._transport.write(self._tls.outgoing())
        if self._words.decided:
            self._decided.set()
        if self._words.over:
            self._leave()

    def _leave(self) -> None:
        """Half-close: the client ends the connection when it has read all."""
        if self._left or self._transport.is_closing():
            return
        self._left = True
        self._decided.set()
        if self._words is not None:
            self._tls.say(self._words.goodbye())
            self._tls.end()
        self._transport.write(self._tls.outgoing())
        self._transport.write_eof()
