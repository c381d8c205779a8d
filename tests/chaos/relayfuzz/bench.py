"""A pair of the relay without sockets: what it writes is kept, and the caller plays the world."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass, field
from math import inf
from uuid import UUID

from relayfuzz.worker_view import WorkerView

from torpor_provisioner.contract import Address, SleepKind
from torpor_router.errors import WorkerProtocol
from torpor_router.h2.faults import ConnectionFault
from torpor_router.limits import Limits
from torpor_router.relay.context import Relay
from torpor_router.relay.held import Held
from torpor_router.relay.node_leg import NodeLeg
from torpor_router.relay.pair import Pair
from torpor_router.relay.worker_leg import WorkerLeg
from torpor_router.routing import Ask, Certificate, Peer, Route
from torpor_statemachine.gate import Admitted, Outlook
from torpor_statemachine.lifecycle.departure import Departure
from torpor_statemachine.lifecycle.states import State, WakeKind


class Wire:
    """Keeps what is written to one peer; `view` is told of it too.

    Once `closing`, as after a write that failed, it takes nothing more, and says so as uvloop does.
    """

    closing = False

    def __init__(self, view: WorkerView | None = None) -> None:
        self.octets = bytearray()
        self._view = view

    def write(self, data: bytes | memoryview) -> None:
        if self.closing:
            raise RuntimeError("the handle is closed")
        self.octets += data
        if self._view is not None:
            self._view.sent_to(bytes(data))

    def writelines(self, parts: Iterable[bytes | memoryview]) -> None:
        for part in parts:
            self.write(part)

    def is_closing(self) -> bool:
        return self.closing


class Fleet:
    """Gate and directory in one. Every other stream of a sleeping satellite must wait."""

    def __init__(self) -> None:
        self.inside: Counter[UUID] = Counter()
        self.epoch = 1
        self.seen: Outlook | None = Outlook(State.ASLEEP, SleepKind.HIBERNATED, 20.0)
        self.awake = True
        self.revoked = False

    def enter(self, satellite: UUID) -> Admitted | None:
        return self.let_in(satellite, WakeKind.HOT) if self.awake else None

    def let_in(self, satellite: UUID, kind: WakeKind = WakeKind.RESUMED) -> Admitted:
        self.inside[satellite] += 1
        return Admitted(Address("", 1), self.epoch, kind)

    async def admit(self, satellite: UUID, *, actor: str, budget: float) -> Admitted:
        raise NotImplementedError

    def running_now(self, satellite: UUID) -> Admitted | None:
        return Admitted(Address("", 1), self.epoch) if self.awake else None

    async def running(self, satellite: UUID) -> Admitted | None:
        raise NotImplementedError

    def outlook(self, satellite: UUID) -> Outlook | None:
        return self.seen

    def leave(self, satellite: UUID) -> None:
        self.inside[satellite] -= 1
        assert self.inside[satellite] >= 0, "left more often than entered"

    def suspect(self, satellite: UUID) -> None:
        raise NotImplementedError

    def on_sleep(self, told: Callable[[Departure], None]) -> None:
        raise NotImplementedError

    def route_now(self, ask: Ask) -> Route | None:
        if self.revoked:
            return None
        return Route(UUID(int=hash(ask.satellite) % 1000), ask.org, ask.satellite, "token:x")

    async def route(self, ask: Ask, peer: str, token: object) -> Route:
        raise NotImplementedError

    def is_refused(self, certificate: Certificate) -> bool:
        return False

    def on_refused(
        self, told: Callable[[Set[str]], None], needed: Callable[[], bool] = lambda: True
    ) -> None:
        raise NotImplementedError


@dataclass
class Bench:
    """A pair with wires in place of sockets, and the test in place of time."""

    limits: Limits = field(
        default_factory=lambda: Limits(streams_per_connection=20, header_octets=8_192)
    )
    fleet: Fleet = field(default_factory=Fleet)
    waiting: list[Held] = field(default_factory=list)
    dialled: int = 0
    farewells: list[str] = field(default_factory=list)
    leg: WorkerLeg | None = None
    view: WorkerView = field(default_factory=WorkerView)
    node_leg: NodeLeg | None = None
    node_dialled: bool = False
    node_read: bool = True
    known_times: int = 0
    now: float = 0.0
    until: float = inf  # when the clock says so, a read stops and goes on in the next turn

    def __post_init__(self) -> None:
        self.relay = Relay(self.fleet, self.fleet, self.limits, lambda: self.now)
        self.client = Wire()
        self.worker = Wire()
        self.node = Wire()
        self.pair = Pair(self.relay, self, self.client, Peer("fuzz"))
        self.pair.greet()

    # Driver
    def wait(self, held: Held) -> None:
        held.cancel = lambda: None
        self.waiting.append(held)

    def dial(self, address: Address) -> None:
        self.dialled += 1

    def dial_node(self) -> None:
        self.node_dialled = True

    def hold_node(self, *, back: bool) -> None:
        self.node_read = not back

    def hang_up(self) -> None:
        self.leg = self.node_leg = None

    def known(self) -> None:
        self.known_times += 1

    def farewell(self, why: str) -> None:
        self.farewells.append(why)

    # what the world does
    def from_client(self, data: bytes) -> None:
        if self.farewells:
            return
        try:
            while data and not self.farewells:
                data = self.pair.client.feed(data, self.until)
        except ConnectionFault as fault:
            self.pair.client_fault(fault)

    def from_worker(self, data: bytes) -> None:
        if self.leg is None:
            return
        self.view.sent_by(data)
        try:
            while data and self.leg is not None:
                data = self.leg.feed(data, self.until)
        except ConnectionFault as fault:
            self.pair.worker_gone(WorkerProtocol(fault.why))
            self.hang_up()

    def connect(self) -> None:
        if self.dialled and self.leg is None and not self.farewells and not self.pair.ready:
            self.view = WorkerView()
            self.worker = Wire(self.view)
            self.leg = self.pair.worker_connected(self.worker)

    def admit(self) -> None:
        waiting, self.waiting = self.waiting, []
        for held in waiting:
            if self.pair.streams.held.get(held.stream) is not held or held.route is None:
                continue
            if held.admitted is not None:
                self.pair.holding.confirmed(held, held.route)
            else:
                admitted = self.fleet.let_in(held.route.satellite_id)
                self.pair.holding.admitted(held, admitted)
            self.pair.run_due()

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.relay.teller.look(self.now)

    def connect_node(self) -> None:
        if self.node_dialled and self.node_leg is None and not self.farewells:
            self.node_dialled = False
            self.node = Wire()
            self.node_leg = self.pair.node.connected(self.node)

    def from_node(self, data: bytes) -> None:
        if self.node_leg is None or not self.node_read:
            return
        try:
            while data and self.node_leg is not None:
                data = self.node_leg.feed(data, self.until)
        except ConnectionFault:
            self.lose_node()

    def lose_node(self) -> None:
        if self.node_leg is not None or self.node_dialled:
            self.node_leg, self.node_dialled = None, False
            self.pair.node.gone()
            self.pair.run_due()
