"""One client connection, the satellite behind it, and every stream between them.

The pair is bound by its first request for a satellite to one caller and one satellite, and by
the first admission to one epoch of it. Calls of the node's own services pass beside.

This is the only module that knows all the others. No I/O here: octets come in through the legs
and go out through `Wire`, and what takes time is asked of the `Driver`, which calls back.
"""

from __future__ import annotations

from uuid import UUID

from torpor_provisioner.errors import TorporError
from torpor_router.h2 import wire
from torpor_router.h2.faults import ConnectionFault
from torpor_router.h2.fields import Field
from torpor_router.h2.scanner import NOTHING
from torpor_router.h2.settings import Values
from torpor_router.h2.wire import Setting
from torpor_router.relay.client_leg import ClientLeg
from torpor_router.relay.context import Relay
from torpor_router.relay.driver import Driver
from torpor_router.relay.held import Held
from torpor_router.relay.looks import Looks
from torpor_router.relay.parts import assemble
from torpor_router.relay.ports import Wire
from torpor_router.relay.retiring import Retiring
from torpor_router.relay.rewrite import released, wake_fields, without_consumed
from torpor_router.relay.stream_ends import StreamEnds
from torpor_router.relay.streams import CLIENT_ENDED, HELD, NODE
from torpor_router.relay.worker_leg import WorkerLeg
from torpor_router.routing import Peer, ToNode
from torpor_router.targets import to_node
from torpor_statemachine.lifecycle.states import WakeKind

_CLOSED = "the worker closed the connection"


class Pair:
    """The streams of one client connection; `ready` once its worker's SETTINGS have come."""

    def __init__(self, relay: Relay, driver: Driver, wire_: Wire, peer: Peer) -> None:
        self.relay = relay
        self.driver = driver
        self.wire = wire_
        self.peer = peer
        self.ready = False
        self.stranger = True  # no request has been let in on this connection
        parts = self._parts = assemble(self, relay, driver, peer.address)
        self.binding = parts.binding
        self.streams = parts.streams
        self.exchange = parts.exchange
        self.window = parts.window
        self.credit = parts.credit
        self.uploads = parts.uploads
        self.holding = parts.holding
        self.node = parts.node
        self.early = parts.early
        self._looks = looks = Looks(relay, parts.binding, parts.streams)
        self.answered = looks.answered
        self._stream_ends = stream_ends = StreamEnds(parts, self.to_worker)
        self.cut_streams = stream_ends.cut_streams
        self.end_answer = stream_ends.end_answer
        self.reset_both = stream_ends.reset_both
        self.reset_by_client = stream_ends.reset_by_client
        self._retiring = retiring = Retiring(self, parts, driver, stream_ends)
        self.retire = retiring.retire
        self.fell_asleep = retiring.fell_asleep
        self.worker_goaway = retiring.worker_goaway
        self.client = ClientLeg(self, parts)
        self.worker: WorkerLeg | None = None
        self._over = False  # the client has had its last word from us
        self._first_block = True  # the worker has not had a header block from us yet

    def __repr__(self) -> str:
        if not vars(self):
            return "<Pair, taken apart>"
        state = "ready" if self.ready else "retired" if self.streams.goaway is not None else "held"
        return f"<Pair {self.peer.address} with {self.binding}, {state}: {self.streams!r}>"

    def greet(self, *, read_on: bool = False) -> None:
        """Answer at once: clients give up on a server that is silent for 20 s.

        With `read_on`, what the client has sent behind its preface is read next, and answered in
        the same write.
        """
        self.client.answers.append(self.exchange.opening())
        if not read_on:
            self.client.push()

    # --- writing

    def to_client(self, data: bytes) -> None:
        if self._over or self.wire.is_closing():
            return
        if self.worker is not None and self.worker.scanning:
            self.worker.send(data)
        elif self.client.scanning:
            self.client.answers.append(data)
        else:
            self.wire.write(data)

    def slow_down(self) -> None:
        """Look at each frame of the client's: not all of them pass any more."""
        self.client.fast = False

    def answer(self, answers: list[bytes]) -> None:
        """Write what a read of the client's made the door itself say."""
        if not self.wire.is_closing():
            self.wire.write(b"".join(answers))

    def to_worker(self, data: bytes) -> None:
        self.client.send(data)

    # --- a stream's beginning

    def open(self, stream: int, fields: list[Field], *, ended: bool) -> None:
        target = self.binding.read(fields, self.peer, ready=self.ready)
        if isinstance(target, ToNode):
            self.node.open(stream, target, fields, ended=ended, stranger=self.stranger)
            return
        held = Held(stream, target, fields, self.relay.clock(), ends_with_block=ended)
        held.stateless = self.client.stateless
        held.size = sum(len(field.wire) for field in fields)
        self.holding.hold(held)
        self.run_due()

    def to_node(self, held: Held, instead_of: UUID | None = None) -> None:
        """Have the node answer `held`, which waits; in the place of a satellite, if one is named.

        Raises:
            TorporError: it cannot; `held` waits as before.
        """
        ended = bool(self.streams.states[held.stream] & CLIENT_ENDED)
        target = to_node(held.fields, self.peer, for_anyone=True, instead_of=instead_of)
        stream, ends = held.stream, held.ends_with_block
        self.node.open(stream, target, held.fields, ended=ends, stranger=self.stranger)
        self.holding.hand_over(held)
        if held.frames:
            self.node.upload(stream, held.frames, octets=held.octets, ended=ended)
        if held.window:
            self.node.open_window(stream, held.window)

    def known(self) -> None:
        """Who sent the last request has shown that it may."""
        if self.stranger:
            self.stranger = False
            self.driver.known()

    # --- the worker's side

    def worker_connected(self, worker: Wire) -> WorkerLeg:
        self._first_block = True
        leg = self.worker = WorkerLeg(
            self, self._parts, sender=self.client, worker=worker, client=self.wire
        )
        leg.allow_frames(self.exchange.client_frame)
        worker.write(self.exchange.greeting())
        return leg

    def worker_settings(self, values: Values) -> bytes:
        assert self.worker is not None
        first = not self.ready
        answer = self.exchange.from_worker(values, first=first)
        self.client.allow_frames(self.exchange.worker_takes)
        if Setting.INITIAL_WINDOW_SIZE in values:
            self.uploads.initial_window(values[Setting.INITIAL_WINDOW_SIZE])
        if first:
            self.ready = True
            self.client.out = self.worker.wire
            # in one write with what waits: `run_due` comes next
            self.client.parts.append(answer.to_worker + self.window.worker_ready(self.worker))
        self.streams.due = True  # the worker may take more: what waits goes behind this read
        return answer.to_client

    def client_settings(self, values: Values) -> bytes:
        worker, window = self.worker, self.exchange.client_window
        answer = self.exchange.from_client(values, connected=worker is not None, ready=self.ready)
        if answer.to_client:
            self.to_client(answer.to_client)
        change = self.exchange.client_window - window
        self.node.settings(values, change)
        if change:
            self.early.resized(change)
        if worker is None:
            return NOTHING
        worker.allow_frames(self.exchange.client_frame)
        if self.ready:
            return answer.to_worker
        worker.say(answer.to_worker)
        return NOTHING

    def run_due(self) -> None:
        """Let through, in order, what may go; end the connection if it is time to."""
        self.streams.due = False
        if self.ready:
            for held in self.holding.next(self.exchange.worker_streams):
                self._release(held)
            self.client.fast = not self.streams.held and self.streams.goaway is None
        self.credit.give()
        self._parts.worker_credit.give()
        if not self.client.scanning:
            self.client.push()
        if self.streams.retiring:
            self._retiring.finish_if_done()

    def _release(self, held: Held) -> None:
        assert held.admitted is not None
        assert held.route is not None
        waited, kind = self.relay.clock() - held.since, held.admitted.wake_kind
        tag = NOTHING if kind is WakeKind.HOT else wake_fields(held, held.admitted, waited)
        window = self.early.release(held)
        ahead = 0 if self.streams.states[held.stream] & CLIENT_ENDED else held.ahead
        self.holding.release(held, tag)
        if held.leased:
            self.relay.counts.streams_opened += 1
        if not held.target.purpose.needs_the_worker:
            self._looks.watch(held)
        elif held.stateless and held.stream not in self.early:
            self.client.cache.decided(held.fields, held.target, self.relay.tick)
        if held.counted:
            if self.relay.traced is not None:
                held.fields = self.relay.traced(held, kind)
            self.relay.observer.released(held, held.route, waited, kind)
        first, self._first_block = self._first_block, False
        most, rest = self.exchange.worker_frame, without_consumed(held)
        out = [released(held, rest, waited, first=first, max_frame=most)]
        if window:
            out.append(wire.window_update(held.stream, window))
        unaware = not self.client.stateless  # it has not acknowledged our SETTINGS
        out += self.uploads.begin(held.stream, held.frames, ahead, unaware=unaware)
        self.to_worker(b"".join(out))

    # --- the pair's end

    def emptied(self) -> None:
        if self.binding.epoch is None and self.streams.goaway is None:
            self.binding.clear()
            self.client.cache.forget()

    def worker_gone(self, error: TorporError) -> None:
        """The worker's connection ended."""
        streams = self.streams
        lost = [n for n, state in streams.states.items() if not state & (HELD | NODE)]
        route = self.binding.route
        self._without_worker(lost, error, str(error) if lost else _CLOSED)
        if lost and route is not None:
            self.relay.observer.worker_lost(route, error, len(lost))

    def cut(self, error: TorporError) -> None:
        """End every open stream with `error`, and the connection behind them."""
        open_ = [n for n in self.streams.states if n not in self.streams.held]
        self._without_worker(open_, error, str(error))

    def _without_worker(self, lost: list[int], error: TorporError, why: str) -> None:
        self.worker = None
        self.client.out = None
        self.ready = False
        self.cut_streams(lost, error)
        self.holding.end_begun(error)
        self.retire(why)

    def dial_failed(self, error: TorporError) -> None:
        """The worker could not be reached: those that were let through to it are refused."""
        self.worker = None
        self.binding.epoch = None
        for held in [each for each in self.streams.held.values() if each.admitted is not None]:
            self.holding.refuse(held, error)
        self.run_due()

    def closed(self) -> None:
        """The client's connection is gone, or as good as gone."""
        self._over = True
        self.streams.goaway = 0
        for stream, state in list(self.streams.states.items()):
            self._stream_ends.take_out(stream, state)
        self.early.drop_all()
        self.driver.hang_up()
        self.binding.clear()

    def take_apart(self) -> None:
        """Refer to nothing any more, so that nothing is left of it. Nobody may use it then."""
        self.streams.take_apart()
        self.window.take_apart()
        vars(self).clear()

    def client_fault(self, fault: ConnectionFault) -> None:
        """The client broke the rules: it is told which, and nothing more."""
        self.to_client(wire.goaway(self.streams.last_served, fault.code, fault.why))
        self.closed()
        self.driver.farewell(repr(fault))
