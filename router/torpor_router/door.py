"""The door: it listens, and knows every connection that came through it."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections import Counter, defaultdict
from functools import partial
from pathlib import Path
from typing import NamedTuple
from uuid import UUID
from weakref import WeakValueDictionary

from torpor_provisioner.contract import Address
from torpor_router.certified import Certified
from torpor_router.dial import dial
from torpor_router.dialects.last_answers import LastAnswers
from torpor_router.errors import Draining
from torpor_router.keepalive import keep_alive
from torpor_router.limits import Limits
from torpor_router.open_streams import OpenStreams
from torpor_router.relay.context import Relay, Traced
from torpor_router.relay.events import Observer
from torpor_router.relay.reading import Turn
from torpor_router.relay.sockets import ClientConnection
from torpor_router.relay.upstreams import NodeConnection, WorkerConnection
from torpor_router.routing import Directory, Peer, Route
from torpor_router.strangers import Strangers
from torpor_router.transport.acceptor import Acceptor
from torpor_router.transport.explainer import Explainer
from torpor_router.transport.failed_hosts import FailedHosts
from torpor_router.transport.tls import ServerTls, WorkerTls
from torpor_statemachine.gate import Gate
from torpor_statemachine.lifecycle.departure import Departure
from torpor_statemachine.node.stream_reports import Open

_TICK = 0.25  # seconds for which a routing decision is not asked for again
_ROUND = 4  # ticks in which every connection is looked at once
_RELOAD = 20  # ticks between two looks at the certificate's files
_STOPPED = 1.0  # seconds by which a tick is late if this process was stopped, or starved


class _Bound(NamedTuple):
    satellite_id: UUID
    epoch: int


class Door:
    """One process's listeners and connections, on the running loop.

    `own` is where the node's own gRPC services listen (host and port, or a socket's path).
    Host names NAME--ORG.`domain` name satellites; without a domain, under any.
    With `answers`, calls that only look at a worker that sleeps are answered from them.
    `wake_progress`: who waits is told so where the answer can tell it (see `relay.early`).
    `failed_hosts`: one that other processes share, if they do.
    Without `tls` the door speaks plaintext; without `worker_tls` it does so to workers.
    """

    def __init__(
        self,
        *,
        gate: Gate,
        directory: Directory,
        own: Address | Path,
        limits: Limits | None = None,
        observer: Observer | None = None,
        tls: ServerTls | None = None,
        worker_tls: WorkerTls | None = None,
        domain: str = "",
        answers: LastAnswers | None = None,
        wake_progress: bool = True,
        traced: Traced | None = None,
        failed_hosts: FailedHosts | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._own = own
        self._tls = tls
        self._worker_tls = worker_tls
        self.relay = Relay(
            gate,
            directory,
            limits or Limits(),
            self._loop.time,
            observer=observer,
            domain=domain,
            answers=answers,
            wake_progress=wake_progress,
            traced=traced,
        )
        self._explainer: Explainer | None = None
        if tls is not None and tls.believes_clients:
            self._explainer = Explainer(tls, failed_hosts or FailedHosts())
        self._acceptors: list[Acceptor] = []
        self._past_failures = 0
        self._past_disbelieved: Counter[str] = Counter()
        self.turn = Turn(self._loop)
        self._connections: set[ClientConnection] = set()
        self.strangers = Strangers(self.relay.limits)
        self._open_streams = OpenStreams()
        self._round: list[ClientConnection] = []
        self._bound: dict[ClientConnection, _Bound] = {}
        self._by_satellite: defaultdict[UUID, set[ClientConnection]] = defaultdict(set)
        self._dialling: WeakValueDictionary[Address, asyncio.Semaphore] = WeakValueDictionary()
        self._certified = Certified(directory.is_refused, self._authorities)
        self._emptied = asyncio.Event()
        self._due = self._loop.time() + _TICK
        self._fair_from = 0.0  # no peer is late before this
        self._timer = self._loop.call_later(_TICK, self._tick)
        gate.on_sleep(self._left_running)
        if tls is not None and tls.believes_clients:
            directory.on_refused(self._certified.refuse, self._certified.any)

    def __repr__(self) -> str:
        return f"<Door {len(self._acceptors)} listeners, {len(self._connections)} connections>"

    async def listen(
        self,
        host: str | None = None,
        port: int = 0,
        *,
        sock: socket.socket | None = None,
        reuse_port: bool = False,
        proxy_protocol: bool = False,
    ) -> Address:
        """Open a listener, or take over `sock`; where it listens.

        With `proxy_protocol`, every connection must begin with a PROXY v2 header: only for
        listeners that nobody but the load balancer reaches.

        Raises:
            OSError: it cannot be opened.
        """
        if sock is None:
            sock = bound(host or "", port, reuse_port=reuse_port)
        keep_alive(sock)  # inherited by every connection that it accepts
        name = sock.getsockname()
        acceptor = Acceptor(
            sock,
            partial(ClientConnection, self, self._loop),
            tls=partial(_context_of, self._tls) if self._tls else None,
            explainer=self._explainer,
            proxy_protocol=proxy_protocol,
            patience=self.relay.limits.preface_timeout,
            linger=self.relay.limits.linger,
        )
        self._acceptors.append(acceptor)
        return Address(name[0], name[1])

    @property
    def accept_failures(self) -> int:
        """How often a connection could not be accepted, on all listeners."""
        return self._past_failures + sum(each.failures for each in self._acceptors)

    @property
    def disbelieved(self) -> Counter[str]:
        """Client certificates that no handshake came through with, by why."""
        return sum((each.disbelieved for each in self._acceptors), Counter(self._past_disbelieved))

    async def drain(self, limit: float) -> None:
        """Take no new connection; send every client away as its open streams end.

        Requests that wait are given back, for the client to retry on another node. What is still
        open after `limit` seconds is ended with its code. Returns
        when all connections are gone, or have had the time to read that.
        """
        self._stop_listening()
        for connection in list(self._connections):
            connection.retire("the router is shutting down")
        if await self._gone_within(limit):
            return
        for connection in list(self._connections):
            connection.cut(Draining("its open streams took too long to end"))
        await self._gone_within(self.relay.limits.linger)

    async def aclose(self) -> None:
        """Close everything at once."""
        self._timer.cancel()
        self._stop_listening()
        for connection in list(self._connections):
            connection.transport.abort()
        await self._gone()

    async def _gone_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._gone()
        except TimeoutError:
            return False
        return True

    async def _gone(self) -> None:
        while self._connections:
            self._emptied.clear()
            await self._emptied.wait()

    def _stop_listening(self) -> None:
        self._past_failures = self.accept_failures
        self._past_disbelieved = self.disbelieved
        for acceptor in self._acceptors:
            acceptor.close()
        self._acceptors.clear()

    def _tick(self) -> None:
        self._timer = self._loop.call_later(_TICK, self._tick)
        self.relay.tick += 1
        if self.relay.tick % _RELOAD == 0:
            for tls in (self._tls, self._worker_tls):
                if tls is not None:
                    tls.reload()
        self._certified.look()
        now, due = self._loop.time(), self._due
        self._due = now + _TICK
        if now - due > _STOPPED:
            self._fair_from = now + _STOPPED  # what peers have sent meanwhile is yet to be read
        self.relay.teller.look(now)
        if now >= self._fair_from:
            self._look_at_some(now)

    def _authorities(self) -> frozenset[str]:
        return self._tls.authorities if self._tls is not None else frozenset()

    def _look_at_some(self, now: float) -> None:
        if not self._round:
            self._round = list(self._connections)
        for _ in range(-(-len(self._connections) // _ROUND)):
            if self._round:
                self._round.pop().look(now)

    def streams_on(self, satellite_id: UUID) -> tuple[Open, ...]:
        """Whose streams keep the satellite awake through this door, the oldest first."""
        return self._open_streams.look(tuple(self._by_satellite.get(satellite_id, ())))

    def _left_running(self, departure: Departure) -> None:
        for connection in list(self._by_satellite.get(departure.satellite_id, ())):
            if self._bound[connection].epoch >= departure.epoch:
                continue  # it came after the satellite had been woken again
            if departure.why is None:
                connection.fell_asleep("the satellite fell asleep")
            else:
                connection.cut(departure.why)

    # --- ConnectionHost

    def peer(self, address: str, tls: ssl.SSLObject | None) -> Peer:
        if self._tls is None or tls is None:
            return Peer(address)
        return self._tls.peer(address, tls)

    def on_connected(self, connection: ClientConnection) -> None:
        self._connections.add(connection)
        peer = connection.pair.peer
        self._certified.came(connection, peer.certificate)
        if peer.certificate is None or not peer.certificate.is_good_at(time.time()):
            self.strangers.enter(connection, peer.address)

    def on_known(self, connection: ClientConnection) -> None:
        self.strangers.leave(connection)

    def on_bound(self, connection: ClientConnection) -> None:
        binding = connection.pair.binding
        if binding.route is not None and binding.epoch is not None:
            self._forget(connection)
            self._bound[connection] = _Bound(binding.route.satellite_id, binding.epoch)
            self._by_satellite[binding.route.satellite_id].add(connection)

    def on_closed(self, connection: ClientConnection) -> None:
        self._connections.discard(connection)
        self.strangers.leave(connection)
        self._certified.went(connection, connection.pair.peer.certificate)
        self._forget(connection)
        self._open_streams.forget(connection)
        if not self._connections:
            self._emptied.set()

    def _forget(self, connection: ClientConnection) -> None:
        bound = self._bound.pop(connection, None)
        if bound is not None:
            others = self._by_satellite[bound.satellite_id]
            others.discard(connection)
            if not others:
                del self._by_satellite[bound.satellite_id]

    async def connect(self, address: Address, route: Route, protocol: WorkerConnection) -> None:
        context, name = None, None
        if self._worker_tls is not None:
            context = self._worker_tls.context
            name = self._worker_tls.server_name(route.org, route.satellite)
        turn = self._dialling.get(address)
        if turn is None:
            turn = asyncio.Semaphore(self.relay.limits.connects_at_once)
            self._dialling[address] = turn
        async with turn:
            await dial(lambda: protocol, address, context, name)

    async def connect_node(self, protocol: NodeConnection) -> None:
        if isinstance(self._own, Path):
            await self._loop.create_unix_connection(lambda: protocol, str(self._own))
        else:
            await self._loop.create_connection(lambda: protocol, *self._own)


def _context_of(tls: ServerTls) -> ssl.SSLContext:
    return tls.context


def bound(host: str, port: int, *, reuse_port: bool = False) -> socket.socket:
    """A socket to listen with. OSError: the address is taken, or is not this machine's."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.settimeout(0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock
