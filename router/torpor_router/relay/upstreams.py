"""The sockets behind a client's: to the satellite's worker, and to the node's own services."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from functools import partial
from typing import Protocol, cast

from torpor_provisioner.errors import TorporError
from torpor_router.errors import ControlUnreachable, WorkerLost, WorkerProtocol
from torpor_router.h2.faults import ConnectionFault
from torpor_router.relay.leg import Leg
from torpor_router.relay.pair import Pair
from torpor_router.relay.reading import Reading, Reason

HIGH_WATER = 256 * 1024  # octets that may wait for a peer before the other one is not read


class ClientSide(Protocol):
    """The client's socket, as those behind it see it."""

    pair: Pair

    @property
    def full(self) -> bool:
        """The client does not take what is written to it."""
        ...

    def read_client(self, *, go_on: bool) -> None:
        """Stop reading from the client, since its worker takes nothing; or go on."""
        ...


class UpstreamConnection(asyncio.Protocol):
    """One socket of a pair's other side.

    `opened` is done once it may be used, or fails with ConnectionError.
    """

    def __init__(self, client: ClientSide) -> None:
        self._loop = asyncio.get_running_loop()
        self.client = client
        self.leg: Leg | None = None
        self.transport: asyncio.Transport | None = None
        self.reading: Reading | None = None
        self.connected_at = self._loop.time()
        self.stalled_since: float | None = None  # since when the peer has taken no octet
        self.opened: asyncio.Future[None] = self._loop.create_future()
        self._hung_up = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of asyncio.Transport, but are none
        transport = self.transport = cast(asyncio.Transport, transport)
        if self._hung_up:  # its client has gone meanwhile
            transport.abort()
            return
        transport.set_write_buffer_limits(high=HIGH_WATER)
        self.reading = Reading(transport, self._loop, self._read)
        if self.client.full:
            self.reading.pause(Reason.PEER_FULL)
        self.connected_at = self._loop.time()
        self.leg = self.connected(transport)

    @abstractmethod
    def connected(self, transport: asyncio.Transport) -> Leg:
        """Greet the peer; the leg that reads it."""

    @abstractmethod
    def usable(self) -> bool:
        """Whether requests may be sent."""

    @abstractmethod
    def lost(self, error: TorporError | None, why: str) -> None:
        """A connection that was usable has ended."""

    def data_received(self, data: bytes) -> None:
        if self.reading is not None:
            self.reading.came(data)

    def _read(self, data: bytes, until: float) -> bytes:
        if self.leg is None:
            return b""
        unread = b""
        try:
            unread = self.leg.feed(data, until)
        except ConnectionFault as fault:
            self.end(WorkerProtocol(fault.why), fault.why)
        if not self.opened.done() and self.usable():
            self.opened.set_result(None)
        return unread

    def end(self, error: TorporError | None, why: str) -> None:
        """Close the socket because of what its peer did, and tell the pair."""
        usable, self.leg = self.leg is not None and self.opened.done(), None
        if not self.opened.done():
            self.opened.set_exception(ConnectionError(why))
        self.hang_up()
        if usable:
            self.lost(error, why)

    def pause_writing(self) -> None:
        self.stalled_since = self._loop.time()
        if self.reading is not None:
            self.reading.pause(Reason.OWN_FULL)
        self.client.read_client(go_on=False)

    def resume_writing(self) -> None:
        self.stalled_since = None
        if self.reading is not None:
            self.reading.resume(Reason.OWN_FULL)
        self.client.read_client(go_on=True)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if self.stalled_since is not None:
            self.client.read_client(go_on=True)
        ended = partial(self.end, None, str(exc) if exc else "it was closed")
        if self.reading is None:
            ended()
        else:
            self.reading.after_all(ended)

    def hang_up(self) -> None:
        """Close the socket; the pair needs it no more."""
        self._hung_up = True
        self.leg = None
        if self.reading is not None:
            self.reading.end()
        if not self.opened.cancel() and not self.opened.cancelled():
            self.opened.exception()  # the one that hangs up knows it
        if self.transport is not None:
            self.transport.close()


class WorkerConnection(UpstreamConnection):
    """The socket to the satellite's worker."""

    def connected(self, transport: asyncio.Transport) -> Leg:
        return self.client.pair.worker_connected(transport)

    def usable(self) -> bool:
        return self.client.pair.ready

    def lost(self, error: TorporError | None, why: str) -> None:
        self.client.pair.worker_gone(error or WorkerLost(why))

    def look(self, now: float, *, patience: float, write_stall: float) -> None:
        """End a connection whose worker leaves out what it must do; called every second or so."""
        if self.leg is None or not self.opened.done():
            return
        if not self.leg.stateless and now - self.connected_at > patience:
            why = f"it has not acknowledged SETTINGS in {patience:g} s"
            self.end(WorkerProtocol(why), why)
        elif self.stalled_since is not None and now - self.stalled_since > write_stall:
            why = f"it took nothing of what was sent to it for {write_stall:g} s"
            if self.transport is not None:
                self.transport.abort()
            self.end(WorkerLost(why), why)


class NodeConnection(UpstreamConnection):
    """The socket to the node's own services."""

    def connected(self, transport: asyncio.Transport) -> Leg:
        return self.client.pair.node.connected(transport)

    def usable(self) -> bool:
        return True

    def lost(self, error: TorporError | None, why: str) -> None:  # noqa: ARG002 - one code for all
        self.client.pair.node.gone(ControlUnreachable(why))
        self.client.pair.run_due()
