"""The door: it listens, and knows every connection that came through it."""

from __future__ import annotations

import asyncio
import socket
from collections import defaultdict
from pathlib import Path
from uuid import UUID

from torpor_provisioner.contract import Address
from torpor_router.limits import Limits
from torpor_router.relay.connection import ClientConnection, WorkerConnection
from torpor_router.relay.context import Relay
from torpor_router.relay.events import Observer
from torpor_router.routing import Directory
from torpor_statemachine.gate import Gate

_TICK = 0.25  # seconds for which a routing decision is not asked for again
_BACKLOG = 4_096


class Door:
    """One process's listeners and connections, on the running loop.

    `own` is where the node's own gRPC services listen (host and port, or a socket's path).
    """

    def __init__(
        self,
        *,
        gate: Gate,
        directory: Directory,
        own: Address | Path,
        limits: Limits | None = None,
        observer: Observer | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._own = own
        self.relay = Relay(gate, directory, limits or Limits(), self._loop.time, observer)
        self._servers: list[asyncio.Server] = []
        self._connections: set[ClientConnection] = set()
        self._by_satellite: defaultdict[UUID, set[ClientConnection]] = defaultdict(set)
        self._connects: dict[Address, asyncio.Semaphore] = {}
        self._emptied = asyncio.Event()
        self._timer = self._loop.call_later(_TICK, self._tick)
        gate.on_sleep(self._fell_asleep)

    def __repr__(self) -> str:
        return f"<Door {len(self._servers)} listeners, {len(self._connections)} connections>"

    async def listen(
        self,
        host: str | None = None,
        port: int = 0,
        *,
        sock: socket.socket | None = None,
        reuse_port: bool = False,
    ) -> Address:
        """Open a listener, or take over `sock`; where it listens. OSError if it cannot be."""
        if sock is not None:
            server = await self._loop.create_server(self._protocol, sock=sock, backlog=_BACKLOG)
        else:
            server = await self._loop.create_server(
                self._protocol, host, port, backlog=_BACKLOG, reuse_port=reuse_port
            )
        self._servers.append(server)
        name = server.sockets[0].getsockname()
        return Address(name[0], name[1])

    def _protocol(self) -> ClientConnection:
        return ClientConnection(self, self._loop)

    async def drain(self, limit: float | None = None) -> None:
        """Take no new connection; send every client away as its open streams end.

        Requests that wait are given back, for the client to retry on another node. Returns when
        all connections are gone, or after `limit` seconds (default: the limits' `drain`).
        """
        self._stop_listening()
        for connection in list(self._connections):
            connection.pair.retire("the router is shutting down")
        if self._connections:
            self._emptied.clear()
            try:
                async with asyncio.timeout(self.relay.limits.drain if limit is None else limit):
                    await self._emptied.wait()
            except TimeoutError:
                return

    async def aclose(self) -> None:
        """Close everything at once."""
        self._timer.cancel()
        self._stop_listening()
        for connection in list(self._connections):
            connection.transport.abort()
        while self._connections:
            self._emptied.clear()
            await self._emptied.wait()

    def _stop_listening(self) -> None:
        for server in self._servers:
            server.close()
        self._servers.clear()

    def _tick(self) -> None:
        self.relay.tick += 1
        self._timer = self._loop.call_later(_TICK, self._tick)

    def _fell_asleep(self, satellite: UUID) -> None:
        for connection in list(self._by_satellite.get(satellite, ())):
            connection.pair.retire("the satellite fell asleep")

    # --- House

    def came(self, connection: ClientConnection) -> None:
        self._connections.add(connection)

    def bound(self, connection: ClientConnection) -> None:
        if connection.pair.binding.route is not None:
            self._by_satellite[connection.pair.binding.route.satellite_id].add(connection)

    def went(self, connection: ClientConnection) -> None:
        self._connections.discard(connection)
        route = connection.pair.binding.route
        if route is not None and (others := self._by_satellite.get(route.satellite_id)):
            others.discard(connection)
            if not others:
                del self._by_satellite[route.satellite_id]
        if not self._connections:
            self._emptied.set()

    async def connect(self, address: Address | None, protocol: WorkerConnection) -> None:
        if address is not None:
            await self._loop.create_connection(lambda: protocol, address.host, address.port)
        elif isinstance(self._own, Path):
            await self._loop.create_unix_connection(lambda: protocol, str(self._own))
        else:
            await self._loop.create_connection(lambda: protocol, *self._own)
