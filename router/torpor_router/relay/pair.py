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
from torpor_router.errors import ConnectionTaken, DeadlineWhileHeld, HeldTooMuch, WorkerProtocol
from torpor_router.h2 import settings, wire
from torpor_router.h2.blocks import TABLE_SIZE_ZERO, Field, encode
from torpor_router.h2.faults import ConnectionFault, StreamFault
from torpor_router.h2.reader import (
    CLIENT_ENDED,
    NOTHING,
    QUEUED,
    RESPONDED,
    TAGGED,
)
from torpor_router.h2.wire import (
    BIGGEST_WINDOW,
    DEFAULT_MAX_FRAME,
    DEFAULT_WINDOW,
    ErrorCode,
    Setting,
)
from torpor_router.relay import deadline, refusal
from torpor_router.relay.client import ClientLeg, Known
from torpor_router.relay.context import Edge, Relay, Wire
from torpor_router.relay.held import Held
from torpor_router.relay.pacing import Paced
from torpor_router.relay.satellite import SatelliteLeg
from torpor_router.routing import Peer, Route, asked
from torpor_statemachine.gate import Admitted
from torpor_statemachine.model import WakeKind

_NODE = Admitted(Address("", 0), epoch=0)


class Pair:
    """See the module."""

    def __init__(self, relay: Relay, edge: Edge, wire_: Wire, peer: Peer) -> None:
        self.relay = relay
        self.edge = edge
        self.wire = wire_
        self.peer = peer
        self.streams: dict[int, int] = {}
        self.client = ClientLeg(self, self.streams)
        self.satellite: SatelliteLeg | None = None
        self.ready = False  # the worker's SETTINGS have come: frames pass
        self.route: Route | None = None
        self.to_node = False  # paired with the node's own services
        self.goaway: int | None = None  # streams over this one are not served here
        self.held: dict[int, Held] = {}
        self._epoch: int | None = None
        self._held_size = 0  # octets of DATA and of request blocks that wait
        self._held_data = 0
        self._credit = 0  # the client's connection window for us, until the worker is there
        self._paced: dict[int, Paced] = {}
        self._tags: dict[int, bytes] = {}
        self._worker_window = DEFAULT_WINDOW
        self._worker_frame = DEFAULT_MAX_FRAME
        self._over = False  # the client has had its last word from us
        self._fresh = True  # the worker has not had a header block from us yet

    def __repr__(self) -> str:
        where = (
            "node" if self.to_node else self.route and f"{self.route.org}/{self.route.satellite}"
        )
        state = "ready" if self.ready else "retired" if self.goaway is not None else "held"
        return f"<Pair {self.peer.address} with {where} {state}, {len(self.streams)} streams>"

    def greet(self) -> None:
        """Answer at once: clients give up on a server that is silent for 20 s."""
        limits = self.relay.limits
        opening = settings.opening(limits.streams_per_connection, limits.header_octets)
        self.wire.write(wire.settings(opening.items()))

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

    def enter(self, known: Known) -> bool:
        """Count one more stream in, if the decision of before still stands."""
        relay = self.relay
        if known.tick != relay.tick and not self._still_trusted(known):
            return False
        if len(self.streams) >= relay.limits.streams_per_connection:
            return False
        if self.route is not None:
            admitted = relay.gate.enter(self.route.satellite_id)
            if admitted is None:
                return False
            if admitted.epoch != self._epoch:
                relay.gate.leave(self.route.satellite_id)
                return False
        relay.counts.streams_opened += 1
        return True

    def _still_trusted(self, known: Known) -> bool:
        if known.ask is not None:
            route = self.relay.directory.route_now(known.ask)
            if route is None or not self._is_ours(route):
                return False
        known.tick = self.relay.tick
        return True

    def _is_ours(self, route: Route) -> bool:
        ours = self.route
        return (
            ours is not None
            and ours.satellite_id == route.satellite_id
            and ours.caller == route.caller
        )

    def open(self, stream: int, fields: list[Field], block: bytes | None, *, ended: bool) -> None:
        """
        Raises:
            TorporError: the request cannot even wait.
        """
        wants = asked(((name, value) for name, value, _ in fields), self.peer)
        held = Held(stream, wants, fields, self.relay.clock(), block=block, ends_with_block=ended)
        size = sum(len(field.wire) for field in fields)
        if self._held_size + size > self.relay.limits.held_octets_per_connection:
            raise HeldTooMuch
        self._held_size += size
        held.size = size
        self.streams[stream] = QUEUED | (CLIENT_ENDED if ended else 0)
        self.held[stream] = held
        self._decide(held)
        self.flush()

    def _decide(self, held: Held) -> None:
        ask = held.asked.ask
        if (ask is None) != self.to_node and (self.to_node or self.route is not None):
            self.retire("the node's services and satellites need connections of their own")
        elif ask is None:
            self.to_node = True
            self.admitted(held, _NODE)
        else:
            route = self.relay.directory.route_now(ask)
            if route is None or self.routed(held, route):
                self.edge.wait(held)

    def routed(self, held: Held, route: Route) -> bool:
        """It is known where `held` goes; whether it must wait for its satellite."""
        if self.held.get(held.stream) is not held:
            return False
        if self.to_node:
            self.retire("the node's services and satellites need connections of their own")
            return False
        if self.route is None:
            self.route = route
        elif not self._is_ours(route):
            self.refuse(held, ConnectionTaken(f"it is {self.route.org}/{self.route.satellite}'s"))
            return False
        held.route = route
        admitted = self.relay.gate.enter(route.satellite_id)
        if admitted is not None:
            self.admitted(held, admitted)
            return False
        try:
            self.relay.holds.enter(route.satellite_id)
        except TorporError as error:
            self.refuse(held, error)
            return False
        held.counted = True
        self.relay.observer.held(route)
        return True

    def admitted(self, held: Held, admitted: Admitted) -> None:
        """`held` may go; it was counted in at the gate."""
        if self.held.get(held.stream) is not held:
            if held.route is not None:
                self.relay.gate.leave(held.route.satellite_id)
            return
        held.admitted = admitted
        held.cancel = None
        if self._epoch is None:
            self._epoch = admitted.epoch
            self.edge.dial(None if self.to_node else admitted.address)
        elif admitted.epoch != self._epoch:
            self.retire("the satellite has slept since")
            return
        self.flush()

    # --- the worker's side

    def worker_connected(self, worker: Wire) -> SatelliteLeg:
        leg = SatelliteLeg(self, self.streams, worker=worker, client=self.wire)
        values = settings.for_worker(self.client.values, first=True)
        leg.allow_frames(values.get(Setting.MAX_FRAME_SIZE, DEFAULT_MAX_FRAME))
        worker.write(wire.PREFACE + wire.settings(values.items()))
        self.satellite = leg
        self._fresh = True
        return leg

    def worker_settings(self, values: settings.Values) -> bytes:
        """What the client is told; with the first, everything that waits goes out."""
        limits = self.relay.limits
        told = settings.for_client(
            values,
            first=not self.ready,
            max_streams=limits.streams_per_connection,
            max_header_list=limits.header_octets,
        )
        if Setting.MAX_FRAME_SIZE in told:
            self.client.allow_frames(told[Setting.MAX_FRAME_SIZE])
            self._worker_frame = values[Setting.MAX_FRAME_SIZE]
        window = values.get(Setting.INITIAL_WINDOW_SIZE, self._worker_window)
        for paced in self._paced.values():
            paced.window += window - self._worker_window
        self._worker_window = window
        if self.ready:
            self._pace()
        elif self.satellite is not None:
            self.ready = True
            self.client.out = self.satellite.wire
            # C-core holds us to its old values until they are acknowledged, and what waits goes
            # out now; the client's own acknowledgement is swallowed when it comes.
            self.client.send(wire.SETTINGS_ACK)
            self.client.acks_due += 1
            if self._credit:
                self.client.send(wire.window_update(0, self._credit))
            self.flush()
        return wire.settings(told.items())

    def client_settings(self, values: settings.Values) -> bytes:
        self.client.values.update(values)
        leg = self.satellite
        if not self.ready:
            self.wire.write(wire.SETTINGS_ACK)
        if leg is None:
            return NOTHING
        told = settings.for_worker(values, first=False)
        if Setting.MAX_FRAME_SIZE in told:
            leg.allow_frames(told[Setting.MAX_FRAME_SIZE])
        if self.ready:
            return wire.settings(told.items())
        leg.wire.write(wire.settings(told.items()))
        leg.acks_due += 1
        return NOTHING

    def flush(self) -> None:
        """Let through, in order, whoever may go."""
        while self.ready and self.held:
            held = next(iter(self.held.values()))
            if held.admitted is None:
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
        state = self.streams[stream] & ~QUEUED
        if admitted.wake_kind is not WakeKind.HOT:
            state |= TAGGED
            self._tags[stream] = _tag(held, admitted, waited)
        if held.counted and held.route is not None:
            self.relay.observer.released(held.route, waited, admitted.wake_kind)
        out = [self._request(held, waited)]
        if held.window:
            out.append(wire.window_update(stream, held.window))
        paced = Paced(held.frames, self._worker_window)
        out += paced.release()
        if paced.frames:
            state |= QUEUED
            self._paced[stream] = paced
        self.streams[stream] = state
        self.relay.counts.streams_opened += 1
        self.client.send(b"".join(out))

    def _request(self, held: Held, waited: float) -> bytes:
        consumed = held.asked.consumed
        block = b"".join(field.wire for field in held.fields if field.name not in consumed)
        if held.block is not None:
            self.client.remember(held.block, Known(held.asked.ask, block, self.relay.tick))
        if held.counted and held.timeout is not None:
            left = deadline.encode(held.timeout - waited)
            block = b"".join(
                field.wire
                for field in held.fields
                if field.name not in consumed and field.name != b"grpc-timeout"
            ) + encode(((b"grpc-timeout", left),))
        if self._fresh:
            self._fresh = False
            block = TABLE_SIZE_ZERO + block
        return wire.headers(
            held.stream, block, end_stream=held.ends_with_block, max_frame=self._worker_frame
        )

    def tag(self, stream: int) -> bytes:
        return self._tags.pop(stream, NOTHING)

    # --- what the client sends while its stream waits

    def queue_data(self, stream: int, flags: int, octets: bytes, size: int) -> None:
        """DATA of `size` octets with its padding, `octets` without."""
        if size > len(octets):
            self.credit(size - len(octets))
            self.tell_client(wire.window_update(stream, size - len(octets)))
        self._held_data += len(octets)
        if not self.ready and self._held_data > DEFAULT_WINDOW:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "DATA over the window")
        end = flags & wire.END_STREAM
        self.queue_frame(stream, wire.frame(wire.Kind.DATA, end, stream, octets), ended=bool(end))
        held = self.held.get(stream)
        if held is not None:
            held.octets += len(octets)

    def queue_frame(self, stream: int, frame: bytes, *, ended: bool) -> None:
        if ended:
            self.streams[stream] |= CLIENT_ENDED
        held = self.held.get(stream)
        if held is not None:
            held.frames.append(frame)
        else:
            self._paced[stream].frames.append(frame)
            self._pace()

    def queue_window(self, stream: int, increment: int) -> bytes | None:
        held = self.held.get(stream)
        if held is None:
            return None
        held.window += increment
        if held.window > BIGGEST_WINDOW - DEFAULT_WINDOW:
            raise StreamFault(ErrorCode.FLOW_CONTROL_ERROR, "the stream's window overflows")
        return NOTHING

    def client_window(self, increment: int) -> bytes | None:
        """The client opened the connection's window."""
        if self.ready:
            return None
        self._credit += increment
        if self._credit > BIGGEST_WINDOW - DEFAULT_WINDOW:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "the window overflows")
        return NOTHING

    def paced_window(self, stream: int, increment: int) -> None:
        """The worker opened the window of a stream that waits for it."""
        if stream in self._paced:
            self._paced[stream].window += increment
            self._pace()

    def _pace(self) -> None:
        for stream, paced in list(self._paced.items()):
            out = paced.release()
            if not paced.frames:
                del self._paced[stream]
                self.streams[stream] &= ~QUEUED
            if out:
                self.client.send(b"".join(out))

    # --- a stream's end

    def beyond(self, stream: int) -> bool:
        """Whether the client was told that `stream` is not served here."""
        return self.goaway is not None and stream > self.goaway

    def stream_over(self, stream: int) -> None:
        """A stream that the worker had is out of `streams`."""
        self.relay.counts.streams_closed += 1
        if self.route is not None:
            self.relay.gate.leave(self.route.satellite_id)
        if self._tags:
            self._tags.pop(stream, None)
        if self._paced:
            self._drop_paced(stream)
        if self.goaway is not None:
            self._finish_if_done()

    def _drop_paced(self, stream: int) -> None:
        """The worker has not had all of the request and will not: give back, and let it know."""
        paced = self._paced.pop(stream, None)
        if paced is not None:
            self.credit(paced.octets)
            self.client.send(wire.rst_stream(stream, ErrorCode.CANCEL))

    def _forget(self, held: Held) -> None:
        """`held` waits no more, for whatever reason."""
        del self.held[held.stream]
        self._held_size -= held.size
        self._held_data -= held.octets
        if held.counted and held.route is not None:
            self.relay.holds.leave(held.route.satellite_id)

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
        if not self.held and self._epoch is None and self.goaway is None:
            self.route = None  # nothing ever came of the binding
            self.to_node = False

    def cancelled(self, stream: int) -> bool:
        """The client gave a queued stream up; whether the worker has never seen it."""
        held = self.held.get(stream)
        if held is None:
            return False
        self._drop(held)
        self.flush()
        return True

    def refuse(self, held: Held, error: TorporError) -> None:
        """Answer `held` with a code; it goes nowhere."""
        if self.held.get(held.stream) is not held:
            return
        ended = bool(self.streams[held.stream] & CLIENT_ENDED)
        route = held.route
        held.cancel = None
        self._drop(held, error)
        self.refuse_new(held.stream, error, ended=ended, route=route)
        self.flush()

    def refuse_new(
        self, stream: int, error: TorporError, *, ended: bool, route: Route | None = None
    ) -> None:
        """Answer a stream that nobody has taken in hand."""
        self.relay.observer.refused(error, route, self.peer.address)
        self.client.forgive(stream)
        answer = wire.headers(stream, refusal.trailers_only(error), end_stream=True)
        if not ended:
            answer += wire.rst_stream(stream, ErrorCode.NO_ERROR)  # RFC 9113 section 8.1
        self.tell_client(answer)

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
        paced = self._paced.pop(stream, None)
        if paced is not None:
            self.credit(paced.octets)
        self.stream_over(stream)

    # --- the pair's end

    def retire(self, why: str) -> None:
        """Serve what is open to its end; everything else the client retries elsewhere."""
        last = min(self.held) - 2 if self.held else self.client.last
        if self.goaway is None or last < self.goaway:
            self._stop_at(max(last, 0))
            self.tell_client(wire.goaway(max(last, 0), ErrorCode.NO_ERROR, why))
        self._finish_if_done()

    def worker_goaway(self, last: int, rest: bytes) -> bytes:
        """The worker leaves: the client is told the same, and reconnects."""
        last = last if self.goaway is None else min(last, self.goaway)
        self._stop_at(last)
        payload = last.to_bytes(4, "big") + rest
        return wire.frame(wire.Kind.GOAWAY, 0, 0, payload)

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
        """The worker's connection ended: every open stream is told so, then the client."""
        told: list[bytes] = []
        for stream, state in list(self.streams.items()):
            if stream in self.held:
                continue
            block = refusal.trailers(error) if state & RESPONDED else refusal.trailers_only(error)
            told.append(wire.headers(stream, block, end_stream=True))
            if not state & CLIENT_ENDED:
                told.append(wire.rst_stream(stream, ErrorCode.NO_ERROR))
        self.satellite = None
        self.client.out = None
        self.ready = False
        self.wire.write(b"".join(told))
        if told and self.route is not None:
            self.relay.observer.worker_lost(self.route, error, len(told))
        self._paced.clear()
        for stream in [each for each in self.streams if each not in self.held]:
            del self.streams[stream]
            self.client.forgive(stream)
            self.stream_over(stream)
        self.retire(f"{error.code} {error.cause}")

    def dial_failed(self, error: TorporError) -> None:
        """The worker could not be reached: those that were let through to it are refused."""
        self.satellite = None
        self._epoch = None
        for held in [each for each in self.held.values() if each.admitted is not None]:
            self.refuse(held, error)

    def closed(self) -> None:
        """The client's connection is gone, or as good as gone."""
        self._over = True
        for held in list(self.held.values()):
            self._drop(held)
        self.goaway = 0
        self._paced.clear()
        for stream in list(self.streams):
            del self.streams[stream]
            self.stream_over(stream)
        self.edge.hang_up()

    def client_fault(self, fault: ConnectionFault) -> None:
        """The client broke the connection's rules: it is told which, and nothing more."""
        self.wire.write(wire.goaway(self.client.last, fault.code, fault.why))
        self.closed()
        self.edge.farewell(repr(fault))

    def worker_fault(self, fault: ConnectionFault) -> None:
        self.worker_gone(WorkerProtocol(fault.why))
        self.edge.hang_up()


def _tag(held: Held, admitted: Admitted, waited: float) -> bytes:
    route = held.route
    name = f"{route.org}/{route.satellite}" if route else ""
    wake = f"kind={admitted.wake_kind}; held={waited:.1f}s"
    return encode(((b"x-torpor-wake", wake.encode()), (b"x-torpor-satellite", name.encode())))
