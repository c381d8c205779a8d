"""To whom a connection belongs: one caller, and one epoch of one satellite."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torpor_router.dialects.refusals import no_satellite
from torpor_router.dialects.requests import purpose_of
from torpor_router.errors import TooManyConnections
from torpor_router.h2.fields import Field
from torpor_router.relay.context import Relay
from torpor_router.relay.request_cache import Decision
from torpor_router.routing import AsConnection, Ask, Peer, Route, ToNode, ToSatellite
from torpor_router.targets import read_request, to_node
from torpor_statemachine.gate import Admitted


class Binding:
    """Fixed by the first request for a satellite. Counts its streams in and out at the gate."""

    __slots__ = ("_relay", "ask", "epoch", "route")

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self.ask: Ask | None = None  # of the first request that said where it wants to go
        self.route: Route | None = None
        self.epoch: int | None = None  # set by the first admission, which also fixes the address

    def __repr__(self) -> str:
        return f"<Binding to {self}>"

    def __str__(self) -> str:
        if self.route is not None:
            return f"{self.route.org}/{self.route.satellite}"
        return "nobody yet"

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

    def read(self, fields: Sequence[Field], peer: Peer, *, ready: bool) -> ToSatellite | ToNode:
        """Where a request goes, for all that this connection already is.

        A request that leaves out where it goes, of a kind that some client sends so, is one more
        of the caller to whom the connection belongs. If it shows no token it is as fresh as that
        caller's; one that it shows is looked at for itself.

        Raises:
            TorporError: as `read_request`.
        """
        target = read_request(fields, peer, self._relay.domain)
        if not isinstance(target, AsConnection):
            return target
        ours = self.ask
        other = ours is None or target.names not in (None, (ours.org, ours.satellite))
        if target.or_node and (other or not ready):
            return to_node(fields, peer, for_anyone=True)
        if ours is None or other:
            raise no_satellite(target.path)
        ask = ours if target.token_hash is None else replace(ours, token_hash=target.token_hash)
        return ToSatellite(ask, target.consumed, target.path, purpose_of(target.path))

    def is_of(self, route: Route) -> bool:
        ours = self.route
        return (
            ours is not None
            and ours.satellite_id == route.satellite_id
            and ours.caller == route.caller
        )

    def still_trusted(self, ask: Ask) -> bool:
        """Whether a decision that was made on this connection would be made again, now."""
        route = self._relay.directory.route_now(ask)
        return route is not None and self.is_of(route)

    def enter_again(self, decision: Decision) -> bool:
        """`enter`, if a decision that was made on this connection before still stands."""
        if decision.tick != self._relay.tick:
            if not self.still_trusted(decision.ask):
                return False
            decision.tick = self._relay.tick
        return self.enter()

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
