"""Sockets for a pair: two asyncio protocols, the tasks that wait, and the timers."""

from __future__ import annotations

import asyncio
import logging
import ssl
from typing import Protocol, cast

from torpor_provisioner.contract import Address
from torpor_provisioner.errors import TorporError
from torpor_router.errors import (
    ControlUnreachable,
    IdleConnection,
    NotHttp2,
    StalledPeer,
    WorkerLost,
    WorkerProtocol,
    WorkerUnreachable,
)
from torpor_router.h2 import wire
from torpor_router.h2.faults import ConnectionFault
from torpor_router.h2.preface import Http1, Preface
from torpor_router.h2.wire import ErrorCode
from torpor_router.relay.admission import settle
from torpor_router.relay.context import Relay
from torpor_router.relay.held import Held
from torpor_router.relay.pair import Pair
from torpor_router.relay.timeouts import Timeouts
from torpor_router.relay.worker_leg import WorkerLeg
from torpor_router.routing import Peer, Route

log = logging.getLogger(__name__)

_HIGH_WATER = 256 * 1024  # octets that may wait for a peer before the other one is not read
_REDIAL = 0.1  # seconds between tries to reach a worker


class House(Protocol):
    """What a connection needs of the door it came through."""

    relay: Relay

    def peer(self, address: str, tls: ssl.SSLObject | None) -> Peer:
        """Who is at the other end of a new connection."""
        ...

    def came(self, connection: ClientConnection) -> None: ...

    def bound(self, connection: ClientConnection) -> None:
        """The pair of `connection` has been given a satellite and an epoch."""
        ...

    def went(self, connection: ClientConnection) -> None: ...

    async def connect(
        self, address: Address | None, route: Route | None, protocol: WorkerConnection
    ) -> None:
        """Connect `protocol` to the worker of `route`, or (None) to the node's own services.

        Raises:
            OSError: nobody answers there.
        """
        ...


class WorkerConnection(asyncio.Protocol):
    """The socket to the worker."""

    def __init__(self, client: ClientConnection) -> None:
        self._client = client
        self.leg: WorkerLeg | None = None
        self.transport: asyncio.Transport | None = None
        self.settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of asyncio.Transport, but are none
        transport = self.transport = cast(asyncio.Transport, transport)
        transport.set_write_buffer_limits(high=_HIGH_WATER)
        self.leg = self._client.pair.worker_connected(transport)

    def data_received(self, data: bytes) -> None:
        leg = self.leg
        if leg is None:
            return
        try:
            leg.feed(data)
        except ConnectionFault as fault:
            self._fault(fault)
        if not self.settled.done():
            self._settle()

    def _settle(self) -> None:
        if self._client.pair.ready:
            self.settled.set_result(None)

    def _fault(self, fault: ConnectionFault) -> None:
        if self.settled.done():
            self.leg = None
            self._client.pair.worker_gone(WorkerProtocol(fault.why))
        else:
            self.settled.set_exception(ConnectionError(fault.why))
        self.hang_up()

    def pause_writing(self) -> None:
        self._client.pause_reading()

    def resume_writing(self) -> None:
        self._client.resume_reading()

    def pause_reading(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        leg, self.leg = self.leg, None
        if not self.settled.done():
            self.settled.set_exception(ConnectionError(f"closed before its SETTINGS: {exc}"))
        elif leg is not None:
            self._client.pair.worker_gone(WorkerLost(str(exc) if exc else "it was closed"))

    def hang_up(self) -> None:
        self.leg = None
        if not self.settled.cancel() and not self.settled.cancelled():
            self.settled.exception()  # whoever hangs up knows
        if self.transport is not None:
            self.transport.close()


class ClientConnection(asyncio.Protocol):
    """The client's socket, and the edge of its pair."""

    pair: Pair
    transport: asyncio.Transport

    def __init__(
        self, house: House, loop: asyncio.AbstractEventLoop, address: str | None = None
    ) -> None:
        self._house = house
        self._loop = loop
        self._address = address  # the client's, if it is not the socket's
        self._watch = Timeouts(house.relay.limits, loop.time())
        self._preface: Preface | None = None
        self._over_tls = False
        self._worker: WorkerConnection | None = None
        self._dialling: asyncio.Task[None] | None = None
        self._waits: set[asyncio.Task[None]] = set()
        self._leaving = False
        self._why = "closed by the client"
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of asyncio.Transport, but are none
        transport = self.transport = cast(asyncio.Transport, transport)
        transport.set_write_buffer_limits(high=_HIGH_WATER)
        relay = self._house.relay
        address = self._address or _address_of(transport)
        tls = transport.get_extra_info("ssl_object")
        self._over_tls = tls is not None
        self._preface = Preface(agreed=tls is None or tls.selected_alpn_protocol() == "h2")
        peer = self._house.peer(address, tls)
        self.pair = Pair(relay, self, transport, peer)
        relay.counts.connections_opened += 1
        relay.observer.connection_opened(self.pair.peer.address)
        self._house.came(self)

    def data_received(self, data: bytes) -> None:
        if self._leaving:
            return
        if self._preface is not None:
            data = self._greet(data)
        if not data:
            return
        try:
            self.pair.client.feed(data)
        except ConnectionFault as fault:
            self.pair.client_fault(fault)

    def _greet(self, data: bytes) -> bytes:
        assert self._preface is not None
        try:
            rest = self._preface.feed(data)
        except Http1 as answer:
            self.transport.write(answer.response(over_tls=self._over_tls))
            self.farewell("HTTP/1")
            return b""
        except NotHttp2 as error:
            self.transport.write(wire.goaway(0, ErrorCode.PROTOCOL_ERROR, str(error)))
            self.farewell("not HTTP/2")
            return b""
        if rest is None:
            return b""
        self._preface = None
        self.pair.greet()
        return rest

    def look(self, now: float) -> None:
        """End the connection if it is time to; called every second or so."""
        if self._leaving:
            return
        error = self._watch.look(self.pair.client, now)
        if error is None:
            return
        if isinstance(error, StalledPeer):
            self._why = str(error)
            self.transport.abort()
        elif isinstance(error, IdleConnection):
            self.pair.retire(str(error))
        else:
            if self._preface is not None:
                self.pair.greet()  # SETTINGS come before all else (RFC 9113 section 3.4)
            self.pair.client_fault(ConnectionFault(ErrorCode.SETTINGS_TIMEOUT, str(error)))

    def cut(self, error: TorporError) -> None:
        """End what is still open with `error`, and the connection behind it."""
        if not self._leaving:
            self._hang_up_worker()
            self.pair.cut(error)

    def pause_writing(self) -> None:
        self._watch.stalled_since = self._loop.time()
        if self._worker is not None:
            self._worker.pause_reading()

    def resume_writing(self) -> None:
        self._watch.stalled_since = None
        if self._worker is not None:
            self._worker.resume_reading()

    def pause_reading(self) -> None:
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        if not self.transport.is_closing():
            self.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._leaving = True
        if self._timer is not None:
            self._timer.cancel()
        self.pair.closed()
        relay = self._house.relay
        relay.counts.connections_closed += 1
        relay.observer.connection_closed(self.pair.peer.address, self._why)
        self._house.went(self)

    # --- Edge

    def wait(self, held: Held) -> None:
        task = self._loop.create_task(settle(self.pair, held))
        self._waits.add(task)
        task.add_done_callback(self._waits.discard)
        held.cancel = task.cancel

    def dial(self, address: Address | None) -> None:
        self._house.bound(self)
        self._dialling = self._loop.create_task(self._dial(address))

    async def _dial(self, address: Address | None) -> None:
        limit = self._house.relay.limits.connect_timeout
        route = self.pair.binding.route
        try:
            async with asyncio.timeout(limit):
                await self._reach(address)
        except TimeoutError:
            self._hang_up_worker()
            self._suspect(route)
            failed = ControlUnreachable if address is None else WorkerUnreachable
            self.pair.dial_failed(failed(f"tried for {limit:g} s"))

    async def _reach(self, address: Address | None) -> None:
        """Nothing of a request goes up before the worker's SETTINGS: to try again is safe."""
        route = self.pair.binding.route
        while True:
            worker = self._worker = WorkerConnection(self)
            try:
                await self._house.connect(address, route, worker)
                await worker.settled
            except OSError as error:
                log.debug("%r: worker not reached: %s", self.pair, error)
                self._hang_up_worker()
                self._suspect(route)
                await asyncio.sleep(_REDIAL)
            else:
                return

    def _suspect(self, route: Route | None) -> None:
        if route is not None:
            self._house.relay.gate.suspect(route.satellite_id)

    def hang_up(self) -> None:
        if self._dialling is not None:
            self._dialling.cancel()
            self._dialling = None
        self._hang_up_worker()

    def _hang_up_worker(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.hang_up()

    def farewell(self, why: str) -> None:
        """Say no more, once what is being written now has been; then wait for the client to go."""
        if not self._leaving:
            self._leaving = True
            self._why = why
            self._loop.call_soon(self._close)

    def _close(self) -> None:
        """Half-close first: to close with octets unread makes the kernel destroy our last words.

        TLS cannot be half-closed. Its end is said at once (close_notify, RFC 8446 section 6.1),
        and what comes after it is read into the void until the client has ended as well.
        """
        transport = self.transport
        if transport.is_closing():
            return
        self.resume_reading()
        if transport.can_write_eof():
            transport.write_eof()
        else:
            transport.close()
        self._timer = self._loop.call_later(self._house.relay.limits.linger, transport.abort)


def _address_of(transport: asyncio.Transport) -> str:
    name = transport.get_extra_info("peername")
    return f"{name[0]}:{name[1]}" if isinstance(name, tuple) else "unix"
