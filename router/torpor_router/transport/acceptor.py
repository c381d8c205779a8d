"""A listener behind a load balancer: each connection begins with a PROXY v2 header.

The header comes before TLS, so it is read from the bare socket, exactly and no octet more, and
only then is the socket given to the event loop.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Callable

from torpor_router.transport import proxy

log = logging.getLogger(__name__)

_OUT_OF_FILES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_BREATHE = 0.5  # seconds to wait when the process may open no more sockets

Factory = Callable[[str | None], asyncio.Protocol]


class ProxyAcceptor:
    """`factory` is given the client's address; `patience` is in seconds, for the header."""

    def __init__(
        self,
        listener: socket.socket,
        factory: Factory,
        *,
        tls: ssl.SSLContext | None,
        patience: float,
    ) -> None:
        listener.settimeout(0)
        self._listener = listener
        self._factory = factory
        self._tls = tls
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._arriving: set[asyncio.Task[None]] = set()
        self._accepting = self._loop.create_task(self._accept())

    def __repr__(self) -> str:
        return f"<ProxyAcceptor {self._listener.getsockname()}>"

    async def _accept(self) -> None:
        while True:
            try:
                client, _ = await self._loop.sock_accept(self._listener)
            except OSError as error:
                if error.errno in _OUT_OF_FILES:
                    log.warning("cannot accept: %s", error)
                    await asyncio.sleep(_BREATHE)
                elif error.errno != errno.ECONNABORTED:
                    raise
                continue
            task = self._loop.create_task(self._arrive(client))
            self._arriving.add(task)
            task.add_done_callback(self._arriving.discard)

    async def _arrive(self, client: socket.socket) -> None:
        try:
            client.settimeout(0)
            async with asyncio.timeout(self._patience):
                address = await self._source(client)
                await self._loop.connect_accepted_socket(
                    lambda: self._factory(address), client, ssl=self._tls
                )
        except (OSError, TimeoutError, EOFError, proxy.BadProxyHeader) as error:
            log.info("connection not taken: %r", error)
            client.close()
        except asyncio.CancelledError:
            client.close()
            raise

    async def _source(self, client: socket.socket) -> str | None:
        command, family, size = proxy.head(await self._exactly(client, proxy.HEAD))
        return proxy.source(command, family, await self._exactly(client, size))

    async def _exactly(self, client: socket.socket, size: int) -> bytes:
        octets = b""
        while len(octets) < size:
            more = await self._loop.sock_recv(client, size - len(octets))
            if not more:
                raise EOFError("closed inside its PROXY header")
            octets += more
        return octets

    def close(self) -> None:
        """Take no more; connections that are arriving are let go."""
        self._accepting.cancel()
        for task in self._arriving:
            task.cancel()
        self._loop.call_soon(self._listener.close)
