"""A client's socket: the driver of its pair, with the tasks that wait and the timers."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Coroutine
from typing import Any, Protocol, cast

from torpor_provisioner.contract import Address
from torpor_provisioner.errors import TorporError
from torpor_router.errors import (
    ControlUnreachable,
    NotHttp2,
    SlowStart,
    StalledPeer,
    WorkerUnreachable,
)
from torpor_router.h2 import wire
from torpor_router.h2.faults import ConnectionFault
from torpor_router.h2.preface import Http1, Preface
from torpor_router.h2.wire import ErrorCode
from torpor_router.relay.admission import decide
from torpor_router.relay.context import Relay
from torpor_router.relay.held import Held
from torpor_router.relay.pair import Pair
from torpor_router.relay.reading import Reading, Reason, Turn
from torpor_router.relay.timeouts import Timeouts
from torpor_router.relay.upstreams import HIGH_WATER, NodeConnection, WorkerConnection
from torpor_router.routing import Peer, Route

log = logging.getLogger(__name__)

_LET_GO = 1.0  # seconds until it is seen again whether what was cancelled has ended
_REDIAL = 0.1  # seconds between tries to reach a worker


class ConnectionHost(Protocol):
    """What a connection needs of the door it came through."""

    relay: Relay
    turn: Turn  # of the strangers among its connections

    def peer(self, address: str, tls: ssl.SSLObject | None) -> Peer:
        """Who is at the other end of a new connection."""
        ...

    def on_connected(self, connection: ClientConnection) -> None: ...

    def on_known(self, connection: ClientConnection) -> None:
        """A request of `connection`'s has been let in."""
        ...

    def on_bound(self, connection: ClientConnection) -> None:
        """The pair of `connection` has been given a satellite and an epoch."""
        ...

    def on_closed(self, connection: ClientConnection) -> None: ...

    async def connect(self, address: Address, route: Route, protocol: WorkerConnection) -> None:
        """Connect `protocol` to the worker of `route`.

        Raises:
            OSError: nobody answers there.
        """
        ...

    async def connect_node(self, protocol: NodeConnection) -> None:
        """Connect `protocol` to the node's own services.

        Raises:
            OSError: nobody answers there.
        """
        ...


class ClientConnection(asyncio.Protocol):
    """The client's socket, and the driver of its pair."""

    pair: Pair
    transport: asyncio.Transport

    def __init__(self, host: ConnectionHost, loop: asyncio.AbstractEventLoop, address: str) -> None:
        self._host = host
        self._loop = loop
        self._address = address  # the client's own
        self._timeouts = Timeouts(host.relay.limits, loop.time())
        self._preface: Preface | None = None
        self._over_tls = False
        self._worker: WorkerConnection | None = None
        self._node: NodeConnection | None = None
        self._dialling: set[asyncio.Task[None]] = set()
        self._waits: set[asyncio.Task[None]] = set()
        self._leaving = False
        self._why = "closed by the client"
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of asyncio.Transport, but are none
        transport = self.transport = cast(asyncio.Transport, transport)
        transport.set_write_buffer_limits(high=HIGH_WATER)
        self._reading = Reading(transport, self._loop, self._read)
        relay = self._host.relay
        tls = transport.get_extra_info("ssl_object")
        self._over_tls = tls is not None
        self._preface = Preface(agreed=tls is None or tls.selected_alpn_protocol() == "h2")
        peer = self._host.peer(self._address, tls)
        self.pair = Pair(relay, self, transport, peer)
        relay.counts.connections_opened += 1
        relay.observer.connection_opened(self.pair.peer.address)
        self._host.on_connected(self)

    def data_received(self, data: bytes) -> None:
        self._reading.came(data)

    def _read(self, data: bytes, until: float) -> bytes:
        if not self.pair.stranger:
            return self._feed(data, until)
        turn = self._host.turn
        if not turn.open:
            return data
        began = turn.begin()
        try:
            return self._feed(data, until)
        finally:
            turn.end(began)

    def _feed(self, data: bytes, until: float) -> bytes:
        if self._leaving or self.transport.is_closing():
            return b""
        if self._preface is not None:
            data = self._greet(data)
        if not data:
            return b""
        try:
            return self.pair.client.feed(data, until)
        except ConnectionFault as fault:
            self.pair.client_fault(fault)
            return b""

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
        self.pair.greet(read_on=bool(rest))
        return rest

    def look(self, now: float) -> None:
        """End the connection if it is time to; called every second or so."""
        if self._leaving:
            return
        limits = self._host.relay.limits
        if self._worker is not None:
            self._worker.look(now, patience=limits.connect_timeout, write_stall=limits.write_stall)
        error = self._timeouts.look(self.pair, now)
        if error is None:
            return
        if isinstance(error, StalledPeer):
            self._why = str(error)
            self.transport.abort()
        elif isinstance(error, SlowStart):
            self._greet_late()
            self.pair.client_fault(ConnectionFault(ErrorCode.SETTINGS_TIMEOUT, str(error)))
        elif self.pair.stranger:
            self.pair.cut(error)
        else:
            self.pair.retire(str(error))

    def retire(self, why: str) -> None:
        """Serve what is open to its end; everything else the client retries elsewhere."""
        if not self._leaving:
            self._greet_late()
            self.pair.retire(why)

    def fell_asleep(self, why: str) -> None:
        """The satellite sleeps, since nothing on this connection kept it awake."""
        if not self._leaving:
            self._greet_late()
            self.pair.fell_asleep(why)

    def cut(self, error: TorporError) -> None:
        """End what is still open with `error`, and the connection behind it."""
        if not self._leaving:
            self._greet_late()
            self._hang_up_upstreams()
            self.pair.cut(error)

    def refuse(self, error: TorporError) -> None:
        """Serve nothing on this connection."""
        if not self._leaving:
            self._greet_late()
            self.pair.client_fault(ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, str(error)))

    def abort(self) -> None:
        """End the connection without a word."""
        self._leaving = True
        self.transport.abort()

    def _greet_late(self) -> None:
        if self._preface is not None:  # SETTINGS come before all else (RFC 9113 section 3.4)
            self._preface = None
            self.pair.greet()

    @property
    def full(self) -> bool:
        return self._timeouts.stalled_since is not None

    def pause_writing(self) -> None:
        self._timeouts.stalled_since = self._loop.time()
        self._reading.pause(Reason.OWN_FULL)
        for upstream in (self._worker, self._node):
            if upstream is not None and upstream.reading is not None:
                upstream.reading.pause(Reason.PEER_FULL)

    def resume_writing(self) -> None:
        self._timeouts.stalled_since = None
        self._reading.resume(Reason.OWN_FULL)
        for upstream in (self._worker, self._node):
            if upstream is not None and upstream.reading is not None:
                upstream.reading.resume(Reason.PEER_FULL)

    def read_client(self, *, go_on: bool) -> None:
        if go_on:
            self._reading.resume(Reason.PEER_FULL)
        else:
            self._reading.pause(Reason.PEER_FULL)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._leaving = True
        if self._timer is not None:
            self._timer.cancel()
        self.pair.closed()
        relay = self._host.relay
        relay.counts.connections_closed += 1
        relay.observer.connection_closed(self.pair.peer.address, self._why)
        self._host.on_closed(self)
        self._loop.call_soon(self._let_go)

    def _let_go(self) -> None:
        """Take the pair apart once nothing is under way for it.

        Its parts refer to each other. Left to the garbage collector, thousands of connections that
        are over would lie in memory, and then hold everyone up together.
        """
        if self._dialling or self._waits:
            self._loop.call_later(_LET_GO, self._let_go)
            return
        self._reading.end()
        self.pair.take_apart()

    # --- Driver

    def wait(self, held: Held) -> None:
        task = self._loop.create_task(decide(self.pair, held))
        self._waits.add(task)
        cancel = held.cancel = task.cancel

        def ended(task: asyncio.Task[None]) -> None:
            self._waits.discard(task)
            if held.cancel is cancel:  # a cancelled task keeps the frames that it was in
                held.cancel = None

        task.add_done_callback(ended)

    def dial(self, address: Address) -> None:
        self._host.on_bound(self)
        self._start_dialling(self._dial(address))

    def dial_node(self) -> None:
        self._start_dialling(self._dial_node())

    def _start_dialling(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._dialling.add(task)
        task.add_done_callback(self._dialling.discard)

    async def _dial(self, address: Address) -> None:
        limit = self._host.relay.limits.connect_timeout
        route = self.pair.binding.route
        assert route is not None
        try:
            async with asyncio.timeout(limit):
                await self._reach(address, route)
        except TimeoutError:
            self._hang_up_worker()
            self._host.relay.gate.suspect(route.satellite_id)
            self.pair.dial_failed(WorkerUnreachable(f"tried for {limit:g} s"))

    async def _reach(self, address: Address, route: Route) -> None:
        """Nothing of a request goes up before the worker's SETTINGS: to try again is safe."""
        while True:
            worker = self._worker = WorkerConnection(self)
            try:
                await self._host.connect(address, route, worker)
                await worker.opened
            except OSError as error:
                log.debug("%r: worker not reached: %s", self.pair, error)
                self._hang_up_worker()
                self._host.relay.gate.suspect(route.satellite_id)
                await asyncio.sleep(_REDIAL)
            else:
                return

    async def _dial_node(self) -> None:
        limit = self._host.relay.limits.connect_timeout
        node = self._node = NodeConnection(self)
        try:
            async with asyncio.timeout(limit):
                await self._host.connect_node(node)
        except (OSError, TimeoutError) as error:
            node.hang_up()
            self.pair.node.gone(ControlUnreachable(str(error)))
            self.pair.run_due()

    def hold_node(self, *, back: bool) -> None:
        if self._node is None or self._node.reading is None:
            return
        if back:
            self._node.reading.pause(Reason.OWN_FULL)
        else:
            self._node.reading.resume(Reason.OWN_FULL)

    def hang_up(self) -> None:
        for task in list(self._dialling):
            task.cancel()
        self._hang_up_upstreams()

    def _hang_up_upstreams(self) -> None:
        self._hang_up_worker()
        node, self._node = self._node, None
        if node is not None:
            node.hang_up()

    def _hang_up_worker(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.hang_up()

    def known(self) -> None:
        self._host.on_known(self)

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
        self._reading.resume_all()
        if transport.can_write_eof():
            transport.write_eof()
        else:
            transport.close()
        self._timer = self._loop.call_later(self._host.relay.limits.linger, transport.abort)
