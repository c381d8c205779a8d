"""Calls of the node's own services on a client's connection, beside those of its satellite."""

from __future__ import annotations

from typing import Final, Protocol

from torpor_provisioner.errors import TorporError
from torpor_router.errors import ControlUnreachable, HeldTooMuch, TooManyStreams
from torpor_router.h2 import wire
from torpor_router.h2.fields import Field
from torpor_router.h2.settings import Values
from torpor_router.limits import Limits
from torpor_router.relay.driver import Driver
from torpor_router.relay.exchange import OWN_WINDOW, SettingsExchange
from torpor_router.relay.node_leg import NodeLeg
from torpor_router.relay.ports import Wire
from torpor_router.relay.streams import FOR_CALLERS, NODE, Streams
from torpor_router.relay.windows import ClientWindow, Credit
from torpor_router.routing import ToNode

_UPLOAD: Final = 256 * 1024  # octets of one call that may wait for the node
_WAITING: Final = 64  # frames that may wait for the client's window, before the node is not read


class NodeCallbacks(Protocol):
    """What the node's calls need of the pair that they are of."""

    def to_client(self, data: bytes) -> None: ...

    def cut_streams(self, streams: list[int], error: TorporError) -> None:
        """End streams with a code."""
        ...

    def known(self) -> None:
        """A service that needs a token has answered with a message."""
        ...

    def run_due(self) -> None: ...


class NodeCalls:
    """The connection to the node is made for the first call, and kept for later ones."""

    __slots__ = (
        "_credit",
        "_driver",
        "_exchange",
        "_full",
        "_leg",
        "_limits",
        "_pair",
        "_streams",
        "_window",
        "used",
    )

    def __init__(
        self,
        pair: NodeCallbacks,
        driver: Driver,
        *,
        streams: Streams,
        window: ClientWindow,
        credit: Credit,
        exchange: SettingsExchange,
        limits: Limits,
    ) -> None:
        self._pair = pair
        self._driver = driver
        self._streams = streams
        self._window = window
        self._credit = credit
        self._exchange = exchange
        self._limits = limits
        self._leg: NodeLeg | None = None
        self._full = False  # the client's window: the node is not read
        self.used = False  # there has been a call

    def __repr__(self) -> str:
        return f"<NodeCalls {self._streams.node} open, {self._leg!r}>"

    @property
    def waiting(self) -> int:
        """Frames of answers that wait for the client's windows."""
        return self._leg.waiting if self._leg is not None else 0

    def open(
        self, stream: int, target: ToNode, fields: list[Field], *, ended: bool, stranger: bool
    ) -> None:
        """A new call.

        Raises:
            TooManyStreams: a stranger has as many as it may.
        """
        most = self._limits.node_streams_of_strangers
        if stranger and self._streams.node >= most:
            raise TooManyStreams(f"{most} are open, and none of them shows credentials")
        if self._leg is None:
            self._leg = NodeLeg(self, self._streams, self._limits)
            self._driver.dial_node()
        self.used = True
        self._streams.enter_node(stream, for_anyone=target.for_anyone, ended=ended)
        if not ended:  # its window is 0 until a worker's SETTINGS have come
            self._pair.to_client(wire.window_update(stream, OWN_WINDOW))
        block = b"".join(each.wire for each in fields if each.name not in target.consumed)
        window = self._exchange.client_window
        self._leg.open(stream, block + target.added, window=window, ended=ended)

    def connected(self, node: Wire) -> NodeLeg:
        assert self._leg is not None
        self._leg.allow_frames(self._exchange.client_frame)
        self._leg.connected(node, self._exchange.greeting_node())
        return self._leg

    def gone(self, error: TorporError | None = None) -> None:
        """The node's services could not be reached, or ended the connection."""
        self._leg = None
        streams = [stream for stream, state in self._streams.states.items() if state & NODE]
        self._pair.cut_streams(streams, error or ControlUnreachable())

    # --- from the client

    def upload(self, stream: int, frames: list[bytes], *, octets: int, ended: bool) -> None:
        """DATA or trailers of an open call."""
        assert self._leg is not None
        self._credit.add(octets)
        waiting = self._leg.upload(stream, frames)
        if ended:
            self._streams.end_by_client(stream)
            if stream not in self._streams.states:
                self._leg.over(stream)
        elif waiting > _UPLOAD:
            self._pair.cut_streams([stream], HeldTooMuch(f"over {_UPLOAD} octets"))
        elif octets:
            self._pair.to_client(wire.window_update(stream, octets))

    def open_window(self, stream: int, increment: int) -> None:
        """The client opened a call's window."""
        assert self._leg is not None
        self._leg.window(stream, increment)

    def client_has_room(self) -> None:
        """The client opened the connection's window."""
        if self._leg is not None:
            self._leg.client_has_room()
        if self._full and self.room():
            self._full = False
            self._driver.hold_node(back=False)

    def settings(self, values: Values, change: int) -> None:
        """The client's SETTINGS have changed, and by `change` the windows of open streams."""
        if self._leg is not None:
            self._leg.settings_changed(self._exchange.for_node(values), change)

    def reset(self, stream: int) -> None:
        """The client, or the door, wants no more of a call, which is closed already."""
        if self._leg is not None:
            self._leg.reset(stream)

    # --- from the node

    def from_node(self, stream: int, frame: bytes, octets: int = 0) -> None:
        if octets and self._streams.states[stream] & FOR_CALLERS:
            self._pair.known()
        self._window.send(frame, octets)

    def room(self) -> int:
        return 0 if self._window.waiting else max(0, self._window.room)

    def run_due(self) -> None:
        if not self._full and not self.room() and self.waiting > _WAITING:
            self._full = True
            self._driver.hold_node(back=True)
        self._pair.run_due()
