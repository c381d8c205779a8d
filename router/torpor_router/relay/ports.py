"""What the relay's parts need of each other and of their surroundings, as protocols.

Frames go down, from a leg to what it was given; nothing below knows what stands above it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from torpor_provisioner.errors import TorporError
from torpor_router.h2.faults import StreamFault
from torpor_router.h2.fields import Field
from torpor_router.h2.settings import Values
from torpor_router.relay.watched import Watched


class Wire(Protocol):
    """The part of an asyncio transport that is needed to write to a peer."""

    def write(self, data: bytes | memoryview) -> None: ...

    def writelines(self, parts: Iterable[bytes | memoryview]) -> None: ...

    def is_closing(self) -> bool: ...


class Upstream(Protocol):
    """What the client's leg tells: the pair."""

    @property
    def ready(self) -> bool:
        """Frames pass to the worker."""
        ...

    def to_client(self, data: bytes) -> None:
        """Write to the client, behind all that the worker's leg has gathered."""
        ...

    def answer(self, answers: list[bytes]) -> None:
        """Write to the client what the door itself says to a read, all of it together."""
        ...

    def open(self, stream: int, fields: list[Field], *, ended: bool) -> None:
        """A new request.

        Raises:
            TorporError: it is refused at once.
        """
        ...

    def reset_by_client(self, stream: int, state: int) -> bool:
        """RST_STREAM came; whether the worker is to see it."""
        ...

    def reset_both(self, stream: int, fault: StreamFault) -> None:
        """The client broke a rule of the stream's."""
        ...

    def client_settings(self, values: Values) -> bytes:
        """The client's SETTINGS; what goes to the worker instead."""
        ...

    def run_due(self) -> None:
        """Do what became due in a read of the client's."""
        ...


class Downstream(Protocol):
    """What a worker's leg tells: the pair."""

    def to_worker(self, data: bytes) -> None:
        """Write to the worker, behind all that the client's leg has gathered."""
        ...

    def worker_settings(self, values: Values) -> bytes:
        """The worker's SETTINGS; what the client is sent instead."""
        ...

    def worker_goaway(self, last: int, rest: bytes) -> bytes:
        """The worker leaves; what the client is sent instead."""
        ...

    def answered(self, watched: Watched, trailers: Iterable[Field]) -> None:
        """The worker has answered a call that only looks."""
        ...

    def end_answer(self, stream: int, error: TorporError) -> None:
        """The client cannot be told what the worker answers: end the stream with a code."""
        ...

    def reset_both(self, stream: int, fault: StreamFault) -> None:
        """The worker broke a rule of the stream's."""
        ...

    def run_due(self) -> None:
        """Do what became due in a read of the worker's."""
        ...
