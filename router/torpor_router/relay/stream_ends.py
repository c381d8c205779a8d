"""How single streams end before their time: reset by a peer, cut with a code, taken out."""

from __future__ import annotations

from collections.abc import Callable

from torpor_provisioner.errors import TorporError
from torpor_router.h2 import wire
from torpor_router.h2.faults import StreamFault
from torpor_router.h2.wire import ErrorCode
from torpor_router.relay.answers import last_words
from torpor_router.relay.parts import Parts
from torpor_router.relay.streams import HELD, NODE


class StreamEnds:
    """Of one pair's streams. `to_worker` writes towards the worker."""

    __slots__ = (
        *("_early", "_exchange", "_holding", "_node", "_streams", "_to_worker"),
        *("_uploads", "_window"),
    )

    def __init__(self, parts: Parts, to_worker: Callable[[bytes], None]) -> None:
        self._streams = parts.streams
        self._window = parts.window
        self._uploads = parts.uploads
        self._exchange = parts.exchange
        self._holding = parts.holding
        self._early = parts.early
        self._node = parts.node
        self._to_worker = to_worker

    def reset_by_client(self, stream: int, state: int) -> bool:
        """The client reset a stream; whether the worker is to hear of it."""
        held = self._streams.held.get(stream)
        passes = self.take_out(stream, state)
        if held is not None:
            self._holding.given_up(held)
        return passes

    def take_out(self, stream: int, state: int) -> bool:
        """The client wants no more of a stream; whether the worker is to hear of it."""
        if state & HELD:
            self._holding.drop(self._streams.held[stream])
            self._streams.due = True
            return False
        self._uploads.drop(stream)
        self._early.drop(stream)
        self._streams.close(stream)
        if state & NODE:
            self._node.reset(stream)
        return not state & NODE

    def reset_both(self, stream: int, fault: StreamFault) -> None:
        """A peer broke a rule on a stream: it ends for both."""
        self._window.send(wire.rst_stream(stream, fault.code))
        self._early.drop(stream)
        state = self._streams.states.get(stream)
        if state is not None:
            if self.take_out(stream, state):
                self._to_worker(wire.rst_stream(stream, ErrorCode.CANCEL))
            self._streams.remember(stream, state)

    def end_answer(self, stream: int, error: TorporError) -> None:
        """The worker's answer goes no further: it ends with a code."""
        self._to_worker(wire.rst_stream(stream, ErrorCode.CANCEL))
        self.cut_streams([stream], error)

    def cut_streams(self, streams: list[int], error: TorporError) -> None:
        """The client is told why each of them ends; the worker is not told."""
        for stream in streams:
            state = self._streams.states[stream]
            for frame, octets in last_words(stream, state, error, self._exchange.client_window):
                self._window.send(frame, octets)
            self._uploads.drop(stream)
            self._early.drop(stream)
            self._streams.remember(stream, self._streams.close(stream))
            if state & NODE:
                self._node.reset(stream)
