"""To whom a pair belongs: one caller and one epoch of one satellite, or the node itself."""

from __future__ import annotations

from collections.abc import Sequence

from torpor_router.errors import NoSatelliteNamed, TooManyConnections
from torpor_router.h2.fields import Field
from torpor_router.relay.context import Relay
from torpor_router.routing import THE_SAME, Ask, Asked, Peer, Route, asked, one_more
from torpor_statemachine.gate import Admitted


class Binding:
    """Counts streams in and out at the gate; the node's own services have none."""

    __slots__ = ("_relay", "ask", "epoch", "route", "to_node")

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self.ask: Ask | None = None  # of the first request that said where it wants to go
        self.route: Route | None = None
        self.to_node = False
        self.epoch: int | None = None  # set by the first admission, which also fixes the address

    def __repr__(self) -> str:
        return f"<Binding to {self}>"

    def __str__(self) -> str:
        if self.route is not None:
            return f"{self.route.org}/{self.route.satellite}"
        return "the node" if self.to_node else "nobody yet"

    def take(self, route: Route) -> None:
        """
        Raises:
            TooManyConnections: the caller has as many as it may.
        """
        callers, most = self._relay.callers, self._relay.limits.connections_per_caller
        if callers[route.org, route.caller] >= most:
            raise TooManyConnections(f"{most} are open")
        callers[route.org, route.caller] += 1
        self.route = route

    def clear(self) -> None:
        """Nothing ever came of it, or nothing more will."""
        if self.route is not None:
            key = self.route.org, self.route.caller
            self._relay.callers[key] -= 1
            if not self._relay.callers[key]:
                del self._relay.callers[key]
        self.ask = None
        self.route = None
        self.to_node = False

    def read(self, fields: Sequence[Field], peer: Peer) -> Asked:
        """What a request asks, for all that this connection already is.

        A request that says nothing of itself, of the kind that Bazel sends so, is taken for one
        more of the caller to whom the connection belongs. It is as fresh as that caller's token.

        Raises:
            TorporError: as `asked`.
        """
        wants = asked(fields, peer, self._relay.domain)
        if wants is not THE_SAME:
            return wants
        if self.ask is None:
            raise NoSatelliteNamed
        return Asked(self.ask)

    def adopt(self, fields: Sequence[Field], peer: Peer) -> Asked | None:
        """A request of nobody's as one more of this connection's, unless it names another."""
        if self.ask is None:
            return None
        return one_more(fields, peer, self._relay.domain, self.ask)

    def fits(self, ask: Ask | None) -> bool:
        """Whether requests for the node, or for a satellite, may come on this connection."""
        if ask is None:
            return self.route is None
        return not self.to_node

    def is_of(self, route: Route) -> bool:
        ours = self.route
        return (
            ours is not None
            and ours.satellite_id == route.satellite_id
            and ours.caller == route.caller
        )

    def still_trusted(self, ask: Ask | None) -> bool:
        """Whether a decision that was made on this connection would be made again, now."""
        if ask is None:
            return True
        route = self._relay.directory.route_now(ask)
        return route is not None and self.is_of(route)

    def enter(self) -> bool:
        """Count a stream in, if that takes no waiting and the satellite has not slept since."""
        if self.route is not None:
            admitted = self._relay.gate.enter(self.route.satellite_id)
            if admitted is None:
                return False
            if admitted.epoch != self.epoch:
                self._relay.gate.leave(self.route.satellite_id)
                return False
        self._relay.counts.streams_opened += 1
        return True

    def admit(self, admitted: Admitted) -> bool:
        """Whether a stream so admitted may use this pair; the first one decides."""
        if self.epoch is None:
            self.epoch = admitted.epoch
        return admitted.epoch == self.epoch

    def leave(self) -> None:
        """Count a stream out."""
        self._relay.counts.streams_closed += 1
        if self.route is not None:
            self._relay.gate.leave(self.route.satellite_id)
