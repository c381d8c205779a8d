"""Requests from their arrival to their release: each is let through once, refused, or cancelled.

They reach the worker in the order in which the client opened them, as HTTP/2 demands (RFC 9113
section 5.1.1): one that must wait makes the later ones wait with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Final, Protocol
from uuid import UUID

from torpor_provisioner.errors import TorporError
from torpor_router.dialects.purpose import Purpose
from torpor_router.dialects.requests import is_the_build, returns_nothing, serves_a_build
from torpor_router.errors import ConnectionTaken, DeadlineWhileHeld, GivenUp, HeldTooMuch, Retired
from torpor_router.h2 import wire
from torpor_router.h2.faults import ConnectionFault, StreamFault
from torpor_router.h2.wire import BIGGEST_WINDOW, DEFAULT_WINDOW, ErrorCode
from torpor_router.relay.answers import Answerer
from torpor_router.relay.binding import Binding
from torpor_router.relay.context import Relay
from torpor_router.relay.driver import Driver
from torpor_router.relay.early import EarlyAnswers
from torpor_router.relay.held import Held
from torpor_router.relay.pacing import message_in, together
from torpor_router.relay.streams import CLIENT_ENDED, Streams
from torpor_router.relay.windows import Credit
from torpor_router.routing import Route
from torpor_statemachine.gate import Admitted

# Octets that a client may send on a stream that the door may answer: its window is 0 until a
# worker's SETTINGS have come, and gRPC's C-core reads no answer before its request is written
_REQUEST: Final = 1_024
_FRAMES: Final = 64  # that wait for one stream, before they are put together


class HoldingCallbacks(Protocol):
    """What the held requests need of the pair that they are of."""

    def to_client(self, data: bytes) -> None: ...

    def known(self) -> None:
        """The caller is one of ours."""
        ...

    def retire(self, why: str) -> None: ...

    def to_node(self, held: Held, instead_of: UUID | None = None) -> None:
        """Have the node answer `held`.

        Raises:
            TorporError: it cannot.
        """
        ...

    def emptied(self) -> None:
        """Nothing waits, and nothing came of what did."""
        ...


class Holding:
    """The requests of one connection that its worker has not seen."""

    __slots__ = (
        "_answerer",
        "_binding",
        "_credit",
        "_driver",
        "_early",
        "_pair",
        "_relay",
        "_streams",
        "octets",
        "work",
    )

    def __init__(
        self,
        pair: HoldingCallbacks,
        relay: Relay,
        driver: Driver,
        *,
        binding: Binding,
        streams: Streams,
        credit: Credit,
        answerer: Answerer,
        early: EarlyAnswers,
    ) -> None:
        self._pair = pair
        self._relay = relay
        self._driver = driver
        self._binding = binding
        self._streams = streams
        self._credit = credit
        self._answerer = answerer
        self._early = early
        self.work = asyncio.Event()  # set once one of them has needed the satellite
        self.octets = 0  # of DATA that waits

    def __repr__(self) -> str:
        return f"<Holding {len(self._streams.held)} requests, {self.octets} octets of DATA>"

    def _waits(self, held: Held) -> bool:
        return self._streams.held.get(held.stream) is held

    # --- coming

    def hold(self, held: Held) -> None:
        """Take a new request in.

        Raises:
            HeldTooMuch: the requests that wait are too large together.
        """
        most = self._relay.limits.held_octets_per_connection
        if self._streams.held_octets + held.size > most:
            raise HeldTooMuch(f"over {most} octets")
        self._streams.hold(held)
        ask = held.target.ask
        self._binding.ask = self._binding.ask or ask
        route = self._relay.directory.route_now(ask)
        if route is None or self.routed(held, route):
            self._driver.wait(held)

    def routed(self, held: Held, route: Route) -> bool:
        """It is known where `held` goes; whether it must wait for its satellite.

        It is not counted yet where it only tells, or looks: `admission` finds out whether the
        satellite is awake.
        """
        if not self._waits(held):
            return False
        held.tick = self._relay.tick
        try:
            if self._binding.route is None:
                self._binding.take(route)
                self._pair.known()
            elif not self._binding.is_of(route):
                raise ConnectionTaken(f"it is {self._binding}'s")
            held.route = route
            gate = self._relay.gate
            enter = gate.enter if held.leased else gate.running_now
            admitted = enter(route.satellite_id)
            if admitted is None and held.target.purpose.needs_the_worker:
                self.count(held)
        except TorporError as error:
            self.refuse(held, error)
            return False
        if admitted is not None:
            self.admitted(held, admitted)
            return False
        return True

    def count(self, held: Held) -> None:
        """`held` waits for its satellite.

        Raises:
            NodeHoldsFull, OrgHoldsFull, SatelliteHoldsFull: no more may.
        """
        if held.route is not None and not held.counted:
            self._relay.holds.enter(held.route.satellite_id, held.route.org)
            held.counted = True
            self._relay.observer.held(held, held.route, self._relay.clock() - held.since)
            self._expect(held)

    def _expect(self, held: Held) -> None:
        """Make ready for what the door itself may say to `held`, or to its build."""
        purpose = held.target.purpose
        if purpose in (Purpose.PROGRESS, Purpose.RETURNS):
            held.ahead = _REQUEST
            self._pair.to_client(wire.window_update(held.stream, _REQUEST))
        self._early.expect(held)
        if not purpose.of_a_build:
            self.work.set()

    def admitted(self, held: Held, admitted: Admitted) -> None:
        """`held` may go; it was counted in at the gate, unless it only tells."""
        if not self._waits(held):  # cancelled in the same moment
            if held.route is not None and held.leased:
                self._relay.gate.leave(held.route.satellite_id)
            return
        held.admitted = admitted
        if held.leased:
            held.cancel = None
        first = self._binding.epoch is None
        if not self._binding.admit(admitted):
            self.end_begun(Retired())
            self._pair.retire("the satellite has slept since")
        elif first:
            self._driver.dial(admitted.address)

    def confirmed(self, held: Held, route: Route) -> None:
        """`held` was asked for once more, because its decision had become too old."""
        if not self._waits(held):
            return
        held.cancel = None
        held.tick = self._relay.tick
        if not self._binding.is_of(route):
            self.refuse(held, ConnectionTaken(f"it is {self._binding}'s"))

    # --- while it waits

    def keep(self, held: Held, frame: bytes, *, octets: int, ended: bool, paired: bool) -> None:
        """A frame behind the request block, with so many octets of DATA.

        Raises:
            ConnectionFault: FLOW_CONTROL_ERROR, more than the windows allow.
        """
        held.octets += octets
        self.octets += octets
        if not paired and self.octets > DEFAULT_WINDOW:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "DATA over the window")
        if ended:
            self._streams.states[held.stream] |= CLIENT_ENDED
        held.frames.append(frame)
        if len(held.frames) >= _FRAMES:
            held.frames = together(held.frames)
        if ended and not paired and held.target.purpose is Purpose.RETURNS:
            self._returned(held)

    def _returned(self, held: Held) -> None:
        """A build is ended; by the node, if it has asked for nothing and returns nothing.

        Its calls name no build. They are its own where the connection has but one of each.
        """
        if self.work.is_set() or not self._relay.wake_progress:
            return
        calls = list(self._streams.held.values())
        message, methods = message_in(held.frames), {each.target.path for each in calls}
        nothing = message is not None and returns_nothing(message)
        if not nothing or len(methods) < len(calls) or any(each.admitted for each in calls):
            self.work.set()
            return
        for each in calls:
            if self._early.finish(each):
                ended = bool(self._streams.states[each.stream] & CLIENT_ENDED)
                self.drop(each)
                self._answerer.end(each.stream, ended=ended)
            else:
                self._to_node(each)

    def open_window(self, held: Held, increment: int) -> None:
        """The client opened the stream's window.

        Raises:
            StreamFault: FLOW_CONTROL_ERROR, over 2^31-1 (section 6.9.1).
        """
        held.window += increment
        if held.window > BIGGEST_WINDOW - DEFAULT_WINDOW:
            raise StreamFault(ErrorCode.FLOW_CONTROL_ERROR, "the stream's window overflows")

    def next(self, worker_streams: int) -> Iterator[Held]:
        """Those that may go now, in order, while the worker takes so many streams.

        Each is to be released before the next one is asked for.
        """
        while self._streams.held:
            held = next(iter(self._streams.held.values()))
            if held.admitted is None or self._streams.at_worker >= worker_streams:
                return
            waited = self._relay.clock() - held.since
            if held.timeout is not None and waited >= held.timeout:
                self.refuse(held, DeadlineWhileHeld(f"held for {waited:.1f} s"))
            elif self._may_still_go(held):
                yield held
            else:
                return

    def _may_still_go(self, held: Held) -> bool:
        """Ask again for who waited: a caller's rights may have ended meanwhile."""
        if held.tick == self._relay.tick:
            return True
        if self._binding.still_trusted(held.target.ask):
            held.tick = self._relay.tick
            return True
        if held.cancel is None:
            self._driver.wait(held)
        return False

    # --- going

    def release(self, held: Held, tag: bytes) -> None:
        """The worker is about to get `held`."""
        self._streams.release(held, tag)
        self._uncount(held)
        if held.cancel is not None:
            held.cancel()

    def refuse(self, held: Held, error: TorporError) -> None:
        """Answer `held` with a code, or with thanks if it only tells; it goes nowhere."""
        if not held.leased:
            self.thank(held)
        elif self._waits(held):
            self._refuse(held, error)

    def thank(self, held: Held) -> None:
        """Have the node answer `held`, which only tells."""
        if self._waits(held):
            self._to_node(held)

    def _to_node(self, held: Held) -> None:
        try:
            self._pair.to_node(held)
        except TorporError as error:
            self._refuse(held, error)

    def look(self, held: Held) -> None:
        """Have the node answer `held`, which only looks, in its satellite's place.

        Raises:
            TorporError: it cannot.
        """
        if self._waits(held) and held.route is not None:
            self._pair.to_node(held, held.route.satellite_id)

    def given_up(self, held: Held) -> None:
        """The client has cancelled `held`: if it was the last build here, what served it ends too.

        A client may end those streams politely, and wait for the door to end them as well.
        """
        waiting = list(self._streams.held.values())
        if not is_the_build(held.target.path) or any(is_the_build(w.target.path) for w in waiting):
            return
        for other in waiting:
            if serves_a_build(other.target.path):
                if other.cancel is not None:
                    other.cancel()
                self._refuse(other, GivenUp(), report=False)

    def _refuse(self, held: Held, error: TorporError, *, report: bool = True) -> None:
        ended = bool(self._streams.states[held.stream] & CLIENT_ENDED)
        held.cancel = None
        begun = self._early.refuse(held, error)
        self.drop(held, error)
        self._answerer.refuse(
            held.stream, error, ended=ended, begun=begun, route=held.route, report=report
        )

    def end_begun(self, error: TorporError) -> None:
        """Refuse those whose answer has begun: unlike the others, no client makes them anew."""
        for held in self._early.begun:
            self.refuse(held, error)

    def drop(self, held: Held, error: TorporError | None = None) -> None:
        """`held` never reaches the worker; with an error, because it was refused."""
        self._streams.drop(held)
        self._credit.add(held.octets)
        self._forget(held, error)

    def hand_over(self, held: Held) -> None:
        """The node answers `held`, and has its stream already."""
        self._streams.hand_over(held)
        self._forget(held, None)

    def _forget(self, held: Held, error: TorporError | None) -> None:
        self._early.drop(held.stream)
        self._uncount(held)
        if held.cancel is not None:
            held.cancel()
        if held.route is not None:
            if held.admitted is not None and held.leased:
                self._relay.gate.leave(held.route.satellite_id)
            if held.counted:
                waited = self._relay.clock() - held.since
                self._relay.observer.gave_up(held, held.route, waited, error)
        if not self._streams.held:
            self.work.clear()
            self._pair.emptied()

    def _uncount(self, held: Held) -> None:
        self.octets -= held.octets
        if held.counted and held.route is not None:
            self._relay.holds.leave(held.route.satellite_id, held.route.org)
