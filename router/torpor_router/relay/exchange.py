"""What client and worker hear of each other's SETTINGS, and when (RFC 9113 section 6.5).

Before the worker is there the door answers the client's SETTINGS itself, and keeps them. It
greets the worker with them, acknowledges the worker's first at once (C-core holds a peer to its
old values until then, and what waits goes out right behind), and passes those on. From then on
SETTINGS and acknowledgements are between client and worker.

Three values are the door's own on each side: the dynamic tables stay empty, nothing is pushed,
and frames stay small enough to be passed whole.

Values in, octets out: nothing is written here.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from torpor_router.h2 import wire
from torpor_router.h2.settings import Values
from torpor_router.h2.wire import BIGGEST_WINDOW, DEFAULT_MAX_FRAME, DEFAULT_WINDOW, Setting
from torpor_router.limits import Limits

# A frame passes on when it has come whole, so that a worker's death never leaves a torn frame
# on the client's connection. This bounds what is kept for it.
MAX_FRAME_CAP: Final = 65_536

# The door may open the window of a stream that it answers itself by this much, beyond what the
# client reckons with: the sum must stay within 2^31-1.
OWN_WINDOW: Final = DEFAULT_WINDOW


class Answer(NamedTuple):
    """What to write to each peer because of one SETTINGS frame."""

    to_client: bytes = b""
    to_worker: bytes = b""


class SettingsExchange:
    """The SETTINGS of one client connection and of the worker behind it.

    `client_acks` and `worker_acks` count the acknowledgements that are the door's own to take.
    """

    __slots__ = (
        "_client",
        "_limits",
        "client_acks",
        "most_streams",
        "worker_acks",
        "worker_frame",
        "worker_streams",
    )

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._client: Values = {}
        self.client_acks = 1
        self.worker_acks = 1
        self.worker_frame = DEFAULT_MAX_FRAME  # octets of payload that the worker takes
        self.worker_streams = BIGGEST_WINDOW  # that the worker has open at once; any number
        self.most_streams = limits.streams_per_connection  # that need not wait for others to end

    @property
    def worker_word(self) -> int:
        """The first words of frame headers below this are of frames that the worker takes."""
        return (self.worker_frame + 1) << 8

    @property
    def client_window(self) -> int:
        """Octets that may be sent to the client on a new stream."""
        return self._client.get(Setting.INITIAL_WINDOW_SIZE, DEFAULT_WINDOW)

    @property
    def client_frame(self) -> int:
        """Octets of payload that may be in a frame to the client."""
        return min(self._client.get(Setting.MAX_FRAME_SIZE, DEFAULT_MAX_FRAME), MAX_FRAME_CAP)

    @property
    def worker_takes(self) -> int:
        """Octets of payload that a client may put into a frame."""
        return min(self.worker_frame, MAX_FRAME_CAP)

    def opening(self) -> bytes:
        """Greet a client before its satellite is there: nothing may be sent on a stream."""
        values = {
            Setting.HEADER_TABLE_SIZE: 0,
            Setting.MAX_CONCURRENT_STREAMS: self._limits.streams_per_connection,
            Setting.INITIAL_WINDOW_SIZE: 0,
            Setting.MAX_HEADER_LIST_SIZE: self._limits.header_octets,
        }
        return wire.settings(values.items())

    def greeting(self) -> bytes:
        """Greet a worker in the client's name."""
        self.worker_acks = 1
        self.worker_frame = DEFAULT_MAX_FRAME
        self.worker_streams = BIGGEST_WINDOW
        return self.greeting_node()

    def greeting_node(self) -> bytes:
        """Greet the node's own services in the client's name."""
        values = {Setting.HEADER_TABLE_SIZE: 0, Setting.ENABLE_PUSH: 0, **_for_worker(self._client)}
        return wire.PREFACE + wire.settings(values.items())

    def for_node(self, values: Values) -> bytes:
        """A change of the client's SETTINGS, for the node's own services."""
        return wire.settings(_for_worker(values).items())

    def from_client(self, values: Values, *, connected: bool, ready: bool) -> Answer:
        """The client's SETTINGS, with a worker `connected`, and `ready` once its own have come."""
        self._client.update(values)
        frame = wire.settings(_for_worker(values).items())
        if ready:
            return Answer(to_worker=frame)
        if connected:
            self.worker_acks += 1
            return Answer(wire.SETTINGS_ACK, frame)
        return Answer(wire.SETTINGS_ACK)

    def from_worker(self, values: Values, *, first: bool) -> Answer:
        """The worker's SETTINGS; the `first` ones are acknowledged here."""
        settings = self._for_client(values)
        if first:  # undoes the 0 of `opening`
            settings.setdefault(Setting.INITIAL_WINDOW_SIZE, DEFAULT_WINDOW)
            self.client_acks += 1
        self.worker_frame = values.get(Setting.MAX_FRAME_SIZE, self.worker_frame)
        self.worker_streams = values.get(Setting.MAX_CONCURRENT_STREAMS, self.worker_streams)
        self.most_streams = min(self.worker_streams, self._limits.streams_per_connection)
        return Answer(wire.settings(settings.items()), wire.SETTINGS_ACK if first else b"")

    def _for_client(self, worker: Values) -> Values:
        limits = self._limits
        values = dict(worker)
        values.pop(Setting.HEADER_TABLE_SIZE, None)
        values.pop(Setting.ENABLE_PUSH, None)
        _cap(values, Setting.MAX_CONCURRENT_STREAMS, limits.streams_per_connection)
        _cap(values, Setting.MAX_HEADER_LIST_SIZE, limits.header_octets)
        _cap(values, Setting.MAX_FRAME_SIZE, MAX_FRAME_CAP)
        _cap(values, Setting.INITIAL_WINDOW_SIZE, BIGGEST_WINDOW - OWN_WINDOW)
        return values


def _for_worker(client: Values) -> Values:
    values = dict(client)
    values.pop(Setting.HEADER_TABLE_SIZE, None)
    values.pop(Setting.ENABLE_PUSH, None)
    _cap(values, Setting.MAX_FRAME_SIZE, MAX_FRAME_CAP)
    return values


def _cap(values: Values, key: Setting, most: int) -> None:
    if key in values:
        values[key] = min(values[key], most)
