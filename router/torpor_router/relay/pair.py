"""One client connection and one satellite connection, and every stream between them.

The pair is bound by its first request to one caller and one satellite, and by the first
admission to one epoch of it. Streams reach the worker in the order the client opened them, as
HTTP/2 demands (RFC 9113 section 5.1.1): one that must wait makes the later ones wait with it.

No I/O here. Octets come in through the legs, go out through `Wire`, and what takes time is
asked of the `Edge`, which calls back.
"""

from __future__ import annotations

from torpor_provisioner.contract import Address
from torpor_provisioner.errors import TorporError
from torpor_router.errors import ConnectionTaken, DeadlineWhileHeld, HeldTooMuch
from torpor_router.h2 import wire
from torpor_router.h2.blocks import TABLE_SIZE_ZERO
from torpor_router.h2.faults import ConnectionFault, StreamFault
from torpor_router.h2.fields import Field
from torpor_router.h2.scanner import CLIENT_ENDED, HELD, QUEUED, TAGGED
from torpor_router.h2.wire import ErrorCode
from torpor_router.relay import answers, capabilities
from torpor_router.relay.binding import Binding
from torpor_router.relay.client_leg import ClientLeg
from torpor_router.relay.context import Edge, Relay, Wire
from torpor_router.relay.exchange import SettingsExchange
from torpor_router.relay.held import Held
from torpor_router.relay.request_cache import CachedRequest
from torpor_router.relay.rewrite import apart_from_timeout, timeout_left, wake_fields
from torpor_router.relay.windows import Windows
from torpor_router.relay.worker_leg import WorkerLeg
from torpor_router.routing import CAPABILITIES, Peer, Route
from torpor_statemachine.gate import Admitted
from torpor_statemachine.lifecycle.states import WakeKind

_NODE = Admitted(Address("", 0), epoch=0)
_MIXED = "the node's services and satellites need connections of their own"


class Pair:
    """See the module."""

    def __init__(self, relay: Relay, edge: Edge, wire_: Wire, peer: Peer) -> None:
        self.relay = relay
        self.edge = edge
        self.wire = wire_
        self.peer = peer
        self.streams: dict[int, int] = {}
        self.client = ClientLeg(self, self.streams)
        self.satellite: WorkerLeg | None = None
        self.ready = False  # the worker's SETTINGS have come: frames pass
        self.binding = Binding(relay)
        self.flow = Windows(self)
        self.terms = SettingsExchange(self)
        self.goaway: int | None = None  # streams over this one are not served here
        self.held: dict[int, Held] = {}
        self._held_size = 0  # octets of request blocks that wait
        self.tags: dict[int, bytes] = {}  # what the first answers after a hold are told
        self._retiring = False
        self._over = False  # the client has had its last word from us
        self._fresh = True  # the worker has not had a header block from us yet

    def __repr__(self) -> str:
        state = "ready" if self.ready else "retired" if self.goaway is not None else "held"
        return f"<Pair {self.peer.address} with {self.binding}, {state}: {len(self.streams)} open>"

    def greet(self) -> None:
        """Answer at once: clients give up on a server that is silent for 20 s."""
        self.wire.write(self.terms.opening())

    # --- writing

    def tell_client(self, data: bytes) -> None:
        if self._over:
            return
        if self.satellite is not None and self.satellite.scanning:
            self.satellite.send(data)
        else:
            self.wire.write(data)

    def credit(self, octets: int) -> None:
        """Give back what the client's DATA took of the connection's window, and nobody reads."""
        if octets:
            self.tell_client(wire.window_update(0, octets))

    # --- a stream's beginning

    def enter(self, known: CachedRequest) -> bool:
        """Count one more stream in, if the decision of before still stands."""
        if known.tick != self.relay.tick:
            if not self.binding.still_trusted(known.ask):
                return False
            known.tick = self.relay.tick
        if len(self.streams) >= self.relay.limits.streams_per_connection:
            return False
        return self.binding.enter()

    def open(self, stream: int, fields: list[Field], *, ended: bool) -> None:
        """
        Raises:
            TorporError: the request cannot even wait.
        """
        wants = self.binding.read(fields, self.peer)
        if wants is CAPABILITIES:
            ours = self.binding.adopt(fields, self.peer) if self.ready else None
            if ours is None:
                capabilities.serve(self, stream, ended=ended)
                return
            wants = ours
        held = Held(stream, wants, fields, self.relay.clock(), ends_with_block=ended)
        held.stateless = self.client.stateless
        held.size = sum(len(field.wire) for field in fields)
        if self._held_size + held.size > self.relay.limits.held_octets_per_connection:
            raise HeldTooMuch
        self._held_size += held.size
        self.streams[stream] = QUEUED | HELD | (CLIENT_ENDED if ended else 0)
        self.held[stream] = held
        self.binding.ask = self.binding.ask or wants.ask
        self._decide(held)
        self.flush()

    def _decide(self, held: Held) -> None:
        ask = held.asked.ask
        if not self.binding.fits(ask):
            self.retire(_MIXED)
        elif ask is None:
            self.binding.to_node = True
            self.admitted(held, _NODE)
        else:
            route = self.relay.directory.route_now(ask)
            if route is None or self.routed(held, route):
                self.edge.wait(held)

    def routed(self, held: Held, route: Route) -> bool:
        """It is known where `held` goes; whether it must wait for its satellite."""
        if self.held.get(held.stream) is not held:
            return False
        if not self.binding.fits(held.asked.ask):
            self.retire(_MIXED)
            return False
        try:
            if self.binding.route is None:
                self.binding.take(route)
            elif not self.binding.is_of(route):
                raise ConnectionTaken(f"it is {self.binding}'s")
            held.route = route
            admitted = self.relay.gate.enter(route.satellite_id)
            if admitted is None:
                self.relay.holds.enter(route.satellite_id, route.org)
        except TorporError as error:
            self.refuse(held, error)
            return False
        if admitted is not None:
            self.admitted(held, admitted)
            return False
        held.counted = True
        self.relay.observer.held(route)
        return True

    def admitted(self, held: Held, admitted: Admitted) -> None:
        """`held` may go; it was counted in at the gate."""
        if self.held.get(held.stream) is not held:  # cancelled in the same moment
            if held.route is not None:
                self.relay.gate.leave(held.route.satellite_id)
            return
        held.admitted = admitted
        held.cancel = None
        first = self.binding.epoch is None
        if not self.binding.admit(admitted):
            self.retire("the satellite has slept since")
        elif first:
            self.edge.dial(None if self.binding.to_node else admitted.address)
        else:
            self.flush()

    # --- the worker's side

    def worker_connected(self, worker: Wire) -> WorkerLeg:
        self._fresh = True
        self.satellite = self.terms.greet_worker(worker)
        return self.satellite

    def worker_ready(self, first: bytes) -> None:
        """The worker's SETTINGS have come: `first` goes to it, and then everything that waits."""
        assert self.satellite is not None
        self.ready = True
        self.client.out = self.satellite.wire
        self.client.send(first + self.flow.opened())
        self.flush()

    def flush(self) -> None:
        """Let through, in order, whoever may go."""
        while self.ready and self.held:
            held = next(iter(self.held.values()))
            at_worker = len(self.streams) - len(self.held)
            if held.admitted is None or at_worker >= self.terms.worker_streams:
                break
            self._release(held, held.admitted)
        self.client.plain = self.ready and not self.held and self.goaway is None

    def _release(self, held: Held, admitted: Admitted) -> None:
        waited = self.relay.clock() - held.since
        timeout = held.timeout
        if timeout is not None and waited >= timeout:
            self.refuse(held, DeadlineWhileHeld(f"held for {waited:.1f} s"))
            return
        self._forget(held)
        stream = held.stream
        state = self.streams[stream] & ~(QUEUED | HELD)
        if admitted.wake_kind is not WakeKind.HOT:
            state |= TAGGED
            self.tags[stream] = wake_fields(held, admitted, waited)
        if held.counted and held.route is not None:
            self.relay.observer.released(held.route, waited, admitted.wake_kind)
        out = [self._request(held, waited)]
        self.streams[stream] = state
        out += self.flow.release(held)
        self.relay.counts.streams_opened += 1
        self.client.send(b"".join(out))

    def _request(self, held: Held, waited: float) -> bytes:
        came, block = apart_from_timeout(held)
        if held.stateless:
            self.client.known.keep(came, CachedRequest(held.asked.ask, block, self.relay.tick))
        block += timeout_left(held, waited)
        if self._fresh:  # its table may be smaller than what it grants by default
            self._fresh = False
            block = TABLE_SIZE_ZERO + block
        return wire.headers(
            held.stream, block, end_stream=held.ends_with_block, max_frame=self.terms.worker_frame
        )

    # --- a stream's end

    def beyond(self, stream: int) -> bool:
        """Whether the client was told that `stream` is not served here."""
        return self.goaway is not None and stream > self.goaway

    def stream_over(self, stream: int) -> None:
        """A stream that the worker had is out of `streams`."""
        self.binding.leave()
        if self.tags:
            self.tags.pop(stream, None)
        if self.flow.paced and self.flow.drop(stream):
            # the worker has not had all of the request, and will not
            self.client.send(wire.rst_stream(stream, ErrorCode.CANCEL))
        if self._retiring:
            self._finish_if_done()
        elif self.held:
            self.flush()  # the worker may have been full

    def _forget(self, held: Held) -> None:
        """`held` waits no more, for whatever reason."""
        del self.held[held.stream]
        self._held_size -= held.size
        self.flow.waiting -= held.octets
        if held.counted and held.route is not None:
            self.relay.holds.leave(held.route.satellite_id, held.route.org)

    def _drop(self, held: Held, error: TorporError | None = None) -> None:
        """`held` never reaches the worker."""
        self._forget(held)
        self.streams.pop(held.stream, None)
        self.client.forgive(held.stream)
        if held.cancel is not None:
            held.cancel()
        if held.route is not None:
            if held.admitted is not None:
                self.relay.gate.leave(held.route.satellite_id)
            if held.counted:
                waited = self.relay.clock() - held.since
                self.relay.observer.gave_up(held.route, waited, error)
        self.credit(held.octets)
        if not self.held and self.binding.epoch is None and self.goaway is None:
            self.binding.clear()
            self.client.known.forget()
            self.client.exact.forget()

    def cancelled(self, stream: int) -> bool:
        """The client gave a queued stream up; whether the worker has never seen it."""
        held = self.held.get(stream)
        if held is None:
            self.flow.drop(stream)
            return False
        self._drop(held)
        self.flush()
        return True

    def refuse(self, held: Held, error: TorporError) -> None:
        """Answer `held` with a code; it goes nowhere."""
        if self.held.get(held.stream) is not held:
            return
        ended = bool(self.streams[held.stream] & CLIENT_ENDED)
        held.cancel = None
        self._drop(held, error)
        self.refuse_new(held.stream, error, ended=ended, route=held.route)
        self.flush()

    def refuse_new(
        self, stream: int, error: TorporError, *, ended: bool, route: Route | None = None
    ) -> None:
        """Answer a stream that nobody has taken in hand."""
        self.relay.observer.refused(error, route, self.peer.address)
        self.client.forgive(stream)
        self.tell_client(answers.of_new(stream, error, self.flow.afford, ended=ended))

    def reset_both(self, stream: int, fault: StreamFault) -> None:
        self.tell_client(wire.rst_stream(stream, fault.code))
        held = self.held.get(stream)
        if held is not None:
            self._drop(held)
            self.flush()
        elif self.streams.pop(stream, None) is not None:
            self.client.send(wire.rst_stream(stream, ErrorCode.CANCEL))
            self.stream_over(stream)

    def reset_by_worker(self, stream: int) -> None:
        del self.streams[stream]
        self.client.forgive(stream)
        self.flow.drop(stream)
        self.stream_over(stream)

    # --- the pair's end

    def retire(self, why: str) -> None:
        """Serve what is open to its end; everything else the client retries elsewhere."""
        last = max(min(self.held) - 2, 0) if self.held else self.client.last
        self._retiring = True
        if self.goaway is None or last < self.goaway:
            self._stop_at(last)
            self.tell_client(wire.goaway(last, ErrorCode.NO_ERROR, why))
        self._finish_if_done()

    def worker_goaway(self, last: int, rest: bytes) -> bytes:
        """The worker leaves: the client is told the same, and reconnects."""
        last = last if self.goaway is None else min(last, self.goaway)
        self._stop_at(last)
        return wire.frame(wire.Kind.GOAWAY, 0, 0, last.to_bytes(4, "big") + rest)

    def _stop_at(self, last: int) -> None:
        self.goaway = last
        self.client.plain = False
        for held in [each for each in self.held.values() if each.stream > last]:
            self._drop(held)
        for stream in [each for each in self.streams if each > last]:
            del self.streams[stream]
            self.stream_over(stream)

    def _finish_if_done(self) -> None:
        if not self.streams:
            self.edge.hang_up()
            self.edge.farewell("retired")

    def worker_gone(self, error: TorporError) -> None:
        """The worker's connection ended."""
        lost = self.cut(error)
        if lost and self.binding.route is not None:
            self.relay.observer.worker_lost(self.binding.route, error, lost)

    def cut(self, error: TorporError) -> int:
        """End every stream that the worker had with `error`, then the pair; how many there were."""
        lost = {n: state for n, state in self.streams.items() if n not in self.held}
        self.satellite = None
        self.client.out = None
        self.ready = False
        self.wire.write(b"".join(answers.cut_short(n, state, error) for n, state in lost.items()))
        for stream in lost:
            del self.streams[stream]
            self.client.forgive(stream)
            self.flow.drop(stream)
            self.stream_over(stream)
        self.retire(str(error) if lost else "the worker closed the connection")
        return len(lost)

    def dial_failed(self, error: TorporError) -> None:
        """The worker could not be reached: those that were let through to it are refused."""
        self.satellite = None
        self.binding.epoch = None
        for held in [each for each in self.held.values() if each.admitted is not None]:
            self.refuse(held, error)

    def closed(self) -> None:
        """The client's connection is gone, or as good as gone."""
        self._over = True
        for held in list(self.held.values()):
            self._drop(held)
        self.goaway = 0
        for stream in list(self.streams):
            del self.streams[stream]
            self.stream_over(stream)
        self.edge.hang_up()
        self.binding.clear()

    def client_fault(self, fault: ConnectionFault) -> None:
        """The client broke the rules: it is told which, and nothing more."""
        last = self.client.last if self.goaway is None else min(self.client.last, self.goaway)
        self.wire.write(wire.goaway(last, fault.code, fault.why))
        self.closed()
        self.edge.farewell(repr(fault))
