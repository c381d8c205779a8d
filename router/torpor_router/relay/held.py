"""A request that waits, and how many may."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID

from torpor_router.dialects.requests import build_of
from torpor_router.errors import NodeHoldsFull, OrgHoldsFull, SatelliteHoldsFull
from torpor_router.h2.fields import Field
from torpor_router.limits import Limits
from torpor_router.relay import deadline
from torpor_router.routing import Route, ToSatellite
from torpor_router.shares import Shares
from torpor_statemachine.gate import Admitted


@dataclass(slots=True, eq=False)
class Held:
    """One stream that the satellite has not seen yet, with all that its client sent so far.

    It ends in exactly one way: forwarded once, refused with a code, or cancelled.
    """

    stream: int
    target: ToSatellite
    fields: list[Field]
    since: float  # the loop's clock
    frames: list[bytes] = field(default_factory=list)  # what came behind the request block
    octets: int = 0  # of DATA among them
    size: int = 0  # octets of its request block
    window: int = 0  # what the client opened the stream's window by
    ahead: int = 0  # octets that the client may send before it knows its worker's window
    stateless: bool = False  # the same octets would mean the same at any time
    ends_with_block: bool = False
    route: Route | None = None
    admitted: Admitted | None = None
    tick: int = -1  # of the relay, when its route was last decided
    counted: bool = False  # in `Holds`
    cancel: Callable[[], object] | None = None  # ends the wait
    timeout: float | None = field(default=None, init=False)  # of the client's, from `since`

    def __post_init__(self) -> None:
        for name, value, *_ in self.fields:
            if name == b"grpc-timeout":
                self.timeout = deadline.parse(value)
                return

    @property
    def path(self) -> bytes:
        return next((each.value for each in self.fields if each.name == b":path"), b"")

    @property
    def build(self) -> str | None:
        """The build that it is part of, as its client names it; None: its connection's."""
        return build_of(self.fields)

    @property
    def leased(self) -> bool:
        """Whether it keeps its satellite awake; then it is counted in at the gate."""
        return not self.target.purpose.only_tells

    def left(self, now: float) -> float | None:
        """Seconds of its timeout that are left; None where it has none."""
        return None if self.timeout is None else self.timeout - (now - self.since)

    def __repr__(self) -> str:
        state = "admitted" if self.admitted else "routed" if self.route else "new"
        return f"<Held stream {self.stream} {state} {self.target.ask}>"


class Holds:
    """How many requests wait: in this process, of each org, and for each satellite."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._orgs = Shares(limits.held_per_node)
        self._by_satellite: Counter[UUID] = Counter()

    @property
    def total(self) -> int:
        return self._orgs.total

    def enter(self, satellite: UUID, org: str) -> None:
        """
        Raises:
            NodeHoldsFull, OrgHoldsFull, SatelliteHoldsFull: no more may wait.
        """
        if self._orgs.full:
            raise NodeHoldsFull(f"{self.total} are waiting")
        if self._by_satellite[satellite] >= self._limits.held_per_satellite:
            raise SatelliteHoldsFull(f"{self._by_satellite[satellite]} are waiting")
        if not self._orgs.enter(org):
            raise OrgHoldsFull(f"{self._orgs.of(org)} of {self.total} that wait are {org}'s")
        self._by_satellite[satellite] += 1

    def leave(self, satellite: UUID, org: str) -> None:
        self._orgs.leave(org)
        self._by_satellite[satellite] -= 1
        if not self._by_satellite[satellite]:
            del self._by_satellite[satellite]

    def of(self, satellite: UUID) -> int:
        return self._by_satellite.get(satellite, 0)

    def __repr__(self) -> str:
        return f"<Holds {self.total} for {len(self._by_satellite)} satellites>"
