"""What a pair asks of its surroundings, as a protocol."""

from __future__ import annotations

from typing import Protocol

from torpor_provisioner.contract import Address
from torpor_router.relay.held import Held


class Driver(Protocol):
    """Where a pair meets sockets and tasks."""

    def wait(self, held: Held) -> None:
        """Find out, in a task, where `held` may go; tell the pair; set `held.cancel`."""
        ...

    def dial(self, address: Address) -> None:
        """Connect to the worker; tell the pair."""
        ...

    def dial_node(self) -> None:
        """Connect to the node's own services; tell the pair."""
        ...

    def hold_node(self, *, back: bool) -> None:
        """Read nothing more from the node's own services; or go on (not `back`)."""
        ...

    def hang_up(self) -> None:
        """Close the connections to the worker and the node, or stop dialling."""
        ...

    def known(self) -> None:
        """A request of this connection's has been let in."""
        ...

    def farewell(self, why: str) -> None:
        """Close the client's connection once what was written has gone out."""
        ...
