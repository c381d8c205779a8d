"""A listening socket: each connection that arrives on it becomes a transport.

The event loop's own servers close themselves, without a word, at most errors of accept(2). Here no
error ends anything: it is counted and logged, and the next connection is taken.

What is read before TLS is read from the bare socket, exactly and no octet more: a load balancer's
PROXY v2 header, and on a listener with TLS a look at the first octet, so that a client without TLS
can be told so.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

from torpor_provisioner.contract import Address
from torpor_router.names import written_address
from torpor_router.rate_limited_log import RateLimitedLog
from torpor_router.transport import proxy
from torpor_router.transport.explainer import Explainer
from torpor_router.transport.handshake import Arrival, arrival
from torpor_router.transport.per_turn import PerTurn
from torpor_router.transport.plaintext import PlaintextRefusal

_BACKLOG = 4_096
_AT_ONCE = 64  # connections taken before the open ones have their turn again
_MOST_ARRIVING = 8_192  # before the end of TLS's handshake; then the oldest gives way to a new one
_HANDSHAKES = 8  # begun in one turn of the loop: each costs half a millisecond, or 6 with RSA-4096
_BREATHE = 0.5  # seconds to wait after an error that the next accept would meet again
_HANDSHAKE = b"\x16"  # the first octet of every TLS connection (RFC 8446 section 5.1)

# Errors of the one connection that was to be accepted: the next is another (accept(2), RETURN
# VALUE), or a firewall's rule. All others may be the machine's or ours.
_OF_ONE_PEER = frozenset(
    getattr(errno, name)
    for name in (
        *("ECONNABORTED", "EPERM", "EPROTO", "ENETDOWN", "ENOPROTOOPT", "EHOSTDOWN", "ENONET"),
        *("EHOSTUNREACH", "EOPNOTSUPP", "ENETUNREACH", "ETIMEDOUT", "ECONNRESET", "EINTR"),
    )
    if hasattr(errno, name)
)

Factory = Callable[[str], asyncio.Protocol]


class Acceptor:
    """`factory` is given the client's address: its own, where a PROXY header tells it.

    `tls` gives the context of each connection; `explainer` may serve one itself. `patience` is in
    seconds: for the header, and again for the handshake; `linger`, for a client to answer the end
    of TLS. `failures` counts accept's errors, `disbelieved` the client certificates that no
    handshake came through with, by why.
    """

    def __init__(
        self,
        listener: socket.socket,
        factory: Factory,
        *,
        tls: Callable[[], ssl.SSLContext] | None = None,
        explainer: Explainer | None = None,
        proxy_protocol: bool = False,
        patience: float,
        linger: float,
        log: RateLimitedLog | None = None,
    ) -> None:
        listener.settimeout(0)
        listener.listen(_BACKLOG)
        self._listener = listener
        self._factory = factory
        self._tls = tls
        self._explainer = explainer
        self._proxy_protocol = proxy_protocol
        self._patience = patience
        self._linger = linger
        self._log = log or RateLimitedLog(logging.getLogger(__name__))
        self._loop = asyncio.get_running_loop()
        self._arriving: dict[asyncio.Task[None], None] = {}  # the oldest first
        self._breathing: asyncio.TimerHandle | None = None
        self._handshakes = PerTurn(_HANDSHAKES)
        self.failures = 0
        self.disbelieved: Counter[str] = Counter()
        self._listen()

    def __repr__(self) -> str:
        return f"<Acceptor {self._listener.getsockname()}, {self.failures} failures>"

    def _listen(self) -> None:
        self._breathing = None
        self._loop.add_reader(self._listener, self._accept_some)

    def _accept_some(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                client, name = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                self._failed(error)
                if error.errno not in _OF_ONE_PEER:
                    self._loop.remove_reader(self._listener)
                    self._breathing = self._loop.call_later(_BREATHE, self._listen)
                    return
                continue
            if len(self._arriving) >= _MOST_ARRIVING:
                oldest = next(iter(self._arriving))
                del self._arriving[oldest]
                oldest.cancel()
            task = self._loop.create_task(self._arrive(client, _written(name)))
            self._arriving[task] = None
            task.add_done_callback(lambda done: self._arriving.pop(done, None))

    def _failed(self, error: OSError) -> None:
        self.failures += 1
        self._log.warning("cannot accept a connection", {"cause": str(error)})

    async def _arrive(self, client: socket.socket, address: str) -> None:
        own = Arrival(address)
        try:
            client.settimeout(0)
            await self._hand_over(client, own)
        except (OSError, TimeoutError, EOFError, proxy.BadProxyHeader) as error:
            self._report(own, str(error) or "it took too long")
            client.close()
        except BaseException:
            client.close()
            raise

    def _report(self, own: Arrival, cause: str) -> None:
        if own.disbelieved is None:
            self._log.info("connection not taken", {"cause": own.why or cause})
            return
        if self._explainer is not None:
            self._explainer.failed(own.peer, own.disbelieved)
        self._report_disbelieved(own.disbelieved, {"cause": own.why, "peer": own.peer})

    def _report_disbelieved(self, reason: str, fields: dict[str, str]) -> None:
        self.disbelieved[reason] += 1
        self._log.warning("client certificate not believed", fields)

    async def _hand_over(self, client: socket.socket, own: Arrival) -> None:
        first = b""
        if self._proxy_protocol or self._tls is not None:
            async with asyncio.timeout(self._patience):
                if self._proxy_protocol:
                    own.peer = await self._source(client) or own.peer
                first = await self._first_octet(client) if self._tls is not None else b""
        connect, made = self._loop.connect_accepted_socket, partial(self._factory, own.peer)
        if self._tls is None:
            await connect(made, client)
        elif first == _HANDSHAKE:
            await self._handshakes.place()
            if await self._is_explained(client, own.peer):
                return
            arrival.set(own)  # in this task's own context
            await connect(
                made,
                client,
                ssl=self._tls(),
                ssl_handshake_timeout=self._patience,
                ssl_shutdown_timeout=self._linger,
            )
        elif not first:
            client.close()  # as load balancers do to see whether somebody listens
        else:
            _, refusal = await connect(PlaintextRefusal, client)
            await refusal.finish(self._patience, self._linger)

    async def _is_explained(self, client: socket.socket, peer: str) -> bool:
        """Whether this connection was served, to its end, by who explains."""
        served = None if self._explainer is None else await self._explainer.serve(client, peer)
        if served is None:
            return False
        if served.error is None:
            self._log.info("asked to connect again", {"cause": "its address failed", "peer": peer})
        else:
            fields = {"cause": served.error.detail, "answer": served.error.code, "peer": peer}
            self._report_disbelieved(served.reason, fields)
        return True

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

    async def _first_octet(self, client: socket.socket) -> bytes:
        """Left where it is, for TLS to read. Empty if the client has gone without any."""
        while True:
            try:
                return client.recv(1, socket.MSG_PEEK)
            except BlockingIOError:
                await self._readable(client)

    async def _readable(self, client: socket.socket) -> None:
        readable = asyncio.Event()
        self._loop.add_reader(client, readable.set)
        try:
            await readable.wait()
        finally:
            self._loop.remove_reader(client)

    def close(self) -> None:
        """Take no more; connections that are arriving are let go."""
        if self._breathing is not None:
            self._breathing.cancel()
        else:
            self._loop.remove_reader(self._listener)
        for task in self._arriving:
            task.cancel()
        self._listener.close()


def _written(name: Any) -> str:
    """The address that accept(2) gave for a client."""
    return written_address(Address(*name[:2])) if isinstance(name, tuple) else "unix"
