"""What the relay tells telemetry. Rare things are calls; what happens per stream is counted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torpor_provisioner.errors import TorporError
from torpor_router.h2.fields import Field
from torpor_router.routing import Route
from torpor_statemachine.lifecycle.states import WakeKind


class Counts:
    """Running totals of one process, read whenever somebody asks.

    Plain integers on purpose: a call a stream into a metrics library would cost as much as all
    else that the relay does for the stream.
    """

    __slots__ = ("connections_closed", "connections_opened", "streams_closed", "streams_opened")

    def __init__(self) -> None:
        self.connections_opened = 0
        self.connections_closed = 0
        self.streams_opened = 0  # let through to a satellite
        self.streams_closed = 0

    @property
    def connections(self) -> int:
        return self.connections_opened - self.connections_closed

    @property
    def streams(self) -> int:
        return self.streams_opened - self.streams_closed

    def __repr__(self) -> str:
        return f"<Counts {self.connections} connections, {self.streams} streams>"


class Waiting(Protocol):
    """A request that waits. It is itself alone: no two are equal."""

    @property
    def fields(self) -> Sequence[Field]:
        """As its client sent them, the caller's credentials among them."""
        ...


class Observer(Protocol):
    """Told on the event loop; must return at once and never raise. Times are in seconds."""

    def connection_opened(self, peer: str) -> None: ...

    def connection_closed(self, peer: str, why: str) -> None: ...

    def held(self, request: Waiting, route: Route, waited: float) -> None:
        """A request began to wait for its satellite; to decide on it has taken `waited`."""
        ...

    def admitted(self, request: Waiting, epoch: int) -> None:
        """Its satellite is awake, under that epoch; its worker has yet to be reached."""
        ...

    def released(self, request: Waiting, route: Route, waited: float, kind: WakeKind) -> None:
        """It was let through."""
        ...

    def gave_up(
        self, request: Waiting, route: Route, waited: float, error: TorporError | None
    ) -> None:
        """It was refused, or cancelled by its client (no error)."""
        ...

    def refused(self, error: TorporError, route: Route | None, peer: str) -> None:
        """A request was answered by the router with a code."""
        ...

    def worker_lost(self, route: Route, error: TorporError, streams: int) -> None:
        """A satellite's connection ended under this many open streams."""
        ...


class Unobserved:
    """The observer of who does not care."""

    def connection_opened(self, peer: str) -> None:
        pass

    def connection_closed(self, peer: str, why: str) -> None:
        pass

    def held(self, request: Waiting, route: Route, waited: float) -> None:
        pass

    def admitted(self, request: Waiting, epoch: int) -> None:
        pass

    def released(self, request: Waiting, route: Route, waited: float, kind: WakeKind) -> None:
        pass

    def gave_up(
        self, request: Waiting, route: Route, waited: float, error: TorporError | None
    ) -> None:
        pass

    def refused(self, error: TorporError, route: Route | None, peer: str) -> None:
        pass

    def worker_lost(self, route: Route, error: TorporError, streams: int) -> None:
        pass
