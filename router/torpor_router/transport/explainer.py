"""Which connections are explained: the next of a host whose client certificate was not believed.

A client of TLS 1.3 is done with its handshake before its certificate is looked at, and some never
show their user the alert that follows (docs/clients.md). They try again, and that connection is
explained: one of a host in some seconds, and a few at once. What it takes is imported by then.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from torpor_router.errors import CertificateNotBelieved
from torpor_router.transport.failed_hosts import FailedHosts
from torpor_router.transport.tls import ServerTls, TlsFiles

if TYPE_CHECKING:
    from torpor_router.transport.explaining import Explaining

log = logging.getLogger(__name__)

MOST_AT_ONCE = 16

_Make = Callable[[str], "Explaining"]


class Served(NamedTuple):
    """For which reason; and what the client was told, if it was its own fault."""

    reason: str
    error: CertificateNotBelieved | None


class Explainer:
    """For a door with `tls`, which believes clients."""

    def __init__(self, tls: ServerTls, hosts: FailedHosts) -> None:
        self._tls = tls
        self._hosts = hosts
        self._make: _Make | None = None
        self._made_for: ssl.SSLContext | None = None
        self._making = asyncio.Lock()
        self._at_once = 0

    def __repr__(self) -> str:
        return f"<Explainer {self._at_once} at once, {self._hosts}>"

    def failed(self, peer: str, reason: str) -> None:
        """The client certificate of `peer` (host and port) is not believed."""
        if host := _host(peer):
            self._hosts.remember(host, reason)

    async def serve(self, client: socket.socket, peer: str) -> Served | None:
        """Serve a new connection to its end; None if the door is to take it as any other."""
        if not (host := _host(peer)) or self._at_once >= MOST_AT_ONCE:
            return None
        if (reason := self._hosts.take(host)) is None:
            return None
        self._at_once += 1
        try:
            if (make := await self._current()) is None:
                return None
            how = make(reason)
            await asyncio.get_running_loop().connect_accepted_socket(lambda: how, client)
            await how.finish()
        finally:
            self._at_once -= 1
        return Served(reason, how.error)

    async def _current(self) -> _Make | None:
        """By the files as the door has read them last; None if they cannot be used here."""
        async with self._making:
            if self._made_for is not (wanted := self._tls.context):
                try:
                    self._make = await asyncio.to_thread(_load, self._tls.files)
                except (ImportError, OSError) as error:  # ssl.SSLError is one
                    log.warning("client certificates that fail are not explained: %s", error)
                    self._make = None
                self._made_for = wanted
            return self._make


def _load(files: TlsFiles) -> _Make:
    from torpor_router.transport.explaining import Explaining
    from torpor_router.transport.lenient_tls import LenientTls, lenient_context

    context = lenient_context(files)
    return lambda reason: Explaining(LenientTls(context), reason)


def _host(peer: str) -> str:
    """Without the port; empty for a socket that has none."""
    return peer.rpartition(":")[0]
