"""What all connections of one process share, and what a pair asks of its surroundings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Protocol

from torpor_provisioner.contract import Address
from torpor_router.limits import Limits
from torpor_router.relay.events import Counts, Observer, Unobserved
from torpor_router.relay.held import Held, Holds
from torpor_router.routing import Directory
from torpor_statemachine.gate import Gate


class Relay:
    """`tick` rises a few times a second: a decision remembered under an older tick is asked for
    anew, so that a revoked token stops new streams without a look-up for each."""

    __slots__ = (
        "callers",
        "clock",
        "counts",
        "directory",
        "domain",
        "gate",
        "holds",
        "limits",
        "observer",
        "tick",
    )

    def __init__(
        self,
        gate: Gate,
        directory: Directory,
        limits: Limits,
        clock: Callable[[], float],
        *,
        observer: Observer | None = None,
        domain: str = "",
    ) -> None:
        self.gate = gate
        self.directory = directory
        self.limits = limits
        self.clock = clock
        self.domain = domain  # under which host names name satellites
        self.observer = observer or Unobserved()
        self.counts = Counts()
        self.holds = Holds(limits)
        self.callers: Counter[tuple[str, str]] = Counter()  # connections by org and caller
        self.tick = 0


class Wire(Protocol):
    """The part of an asyncio transport that is needed to write to a peer."""

    def write(self, data: bytes | memoryview) -> None: ...

    def writelines(self, parts: Iterable[bytes | memoryview]) -> None: ...


class Edge(Protocol):
    """Where a pair meets sockets and tasks."""

    def wait(self, held: Held) -> None:
        """Find out, in a task, where `held` may go; tell the pair; set `held.cancel`."""
        ...

    def dial(self, address: Address | None) -> None:
        """Connect to the worker, or (None) to the node's own services; tell the pair."""
        ...

    def hang_up(self) -> None:
        """Close the connection to the worker, or stop dialling."""
        ...

    def farewell(self, why: str) -> None:
        """Close the client's connection once what was written has gone out."""
        ...
