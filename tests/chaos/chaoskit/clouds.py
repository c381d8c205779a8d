"""What a run needs of a cloud; the two that there are stand in `cloud` and `ec2`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Protocol, Self
from uuid import UUID

from torpor_provisioner.contract import Address, Arch, MachineState


class Machine(Protocol):
    """`name` is its satellite's, and the records'; `ref` is what stands in the database for it."""

    @property
    def name(self) -> str: ...
    @property
    def ref(self) -> str: ...
    @property
    def satellite_id(self) -> UUID: ...
    @property
    def arch(self) -> Arch: ...
    @property
    def address(self) -> Address: ...


class Cloud(Protocol):
    """Runs from `async with` on; its machines are made once, and sleep at first."""

    provisioner: str  # as the nodes know it
    made_up: Sequence[str]  # words of the failures that it makes up, which nodes may log

    @property
    def machines(self) -> Sequence[Machine]: ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    async def make(self, number: int, org: str) -> None:
        """The machines, asleep."""
        ...

    def environ(self, caller: str) -> Mapping[str, str]:
        """What one process of a node needs to reach it; `caller` is that process's name."""
        ...

    async def trouble(self) -> None:
        """Make trouble of its own until cancelled."""
        ...

    async def calm(self) -> None:
        """No more trouble."""
        ...

    async def wakes(self) -> int:
        """How many so far."""
        ...

    async def tell(self) -> None:
        """Put what was not yet written down into the records."""
        ...

    async def states(self) -> Mapping[str, MachineState]:
        """What is true now, by name."""
        ...
