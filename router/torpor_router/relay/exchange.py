"""What client and worker tell each other of themselves in SETTINGS, through the relay.

Before the worker is there the relay answers the client's SETTINGS itself, and keeps them. It
greets the worker with them, acknowledges the worker's first at once (C-core holds a peer to its
old values until then, and what waits goes out right behind), and passes those on. From then on
SETTINGS and acknowledgements are between client and worker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torpor_router.h2 import settings, wire
from torpor_router.h2.scanner import NOTHING
from torpor_router.h2.wire import BIGGEST_WINDOW, DEFAULT_MAX_FRAME, DEFAULT_WINDOW, Setting
from torpor_router.relay.context import Wire
from torpor_router.relay.worker_leg import WorkerLeg

if TYPE_CHECKING:
    from torpor_router.relay.pair import Pair


class SettingsExchange:
    """One pair's."""

    __slots__ = ("_client", "_pair", "worker_frame", "worker_streams")

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self._client: settings.Values = {}
        self.worker_frame = DEFAULT_MAX_FRAME  # octets of payload that the worker takes
        self.worker_streams = BIGGEST_WINDOW  # that the worker has open at once; any number

    @property
    def client_window(self) -> int:
        """Octets that may be sent to the client on a new stream."""
        return self._client.get(Setting.INITIAL_WINDOW_SIZE, DEFAULT_WINDOW)

    def opening(self) -> bytes:
        """Our first word to a client."""
        limits = self._pair.relay.limits
        values = settings.opening(limits.streams_per_connection, limits.header_octets)
        return wire.settings(values.items())

    def greet_worker(self, worker: Wire) -> WorkerLeg:
        """Our first word to a worker."""
        leg = WorkerLeg(self._pair, self._pair.streams, worker=worker, client=self._pair.wire)
        values = settings.for_worker(self._client, first=True)
        leg.allow_frames(values.get(Setting.MAX_FRAME_SIZE, DEFAULT_MAX_FRAME))
        worker.write(wire.PREFACE + wire.settings(values.items()))
        return leg

    def from_worker(self, values: settings.Values) -> bytes:
        """The worker's SETTINGS; what the client is told."""
        pair = self._pair
        limits = pair.relay.limits
        told = settings.for_client(
            values,
            first=not pair.ready,
            max_streams=limits.streams_per_connection,
            max_header_list=limits.header_octets,
        )
        if Setting.MAX_FRAME_SIZE in told:
            pair.client.allow_frames(told[Setting.MAX_FRAME_SIZE])
            self.worker_frame = values[Setting.MAX_FRAME_SIZE]
        if Setting.MAX_CONCURRENT_STREAMS in values:
            self.worker_streams = values[Setting.MAX_CONCURRENT_STREAMS]
        if Setting.INITIAL_WINDOW_SIZE in values:
            pair.flow.worker_window(values[Setting.INITIAL_WINDOW_SIZE])
        if not pair.ready:
            pair.worker_ready(wire.SETTINGS_ACK)
            pair.client.acks_due += 1
        return wire.settings(told.items())

    def from_client(self, values: settings.Values) -> bytes:
        """The client's SETTINGS; what goes to the worker in their place."""
        self._client.update(values)
        leg, ready = self._pair.satellite, self._pair.ready
        if not ready:
            self._pair.tell_client(wire.SETTINGS_ACK)
        if leg is None:
            return NOTHING
        told = settings.for_worker(values, first=False)
        if Setting.MAX_FRAME_SIZE in told:
            leg.allow_frames(told[Setting.MAX_FRAME_SIZE])
        frame = wire.settings(told.items())
        if ready:
            return frame
        leg.wire.write(frame)
        leg.acks_due += 1
        return NOTHING
