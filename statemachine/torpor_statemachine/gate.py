"""What the data path asks of the lifecycle: may this stream go to that satellite now?

The relay calls `enter` for every stream; it is a dictionary look-up and a comparison, and
answers None unless this node holds a trusted lease on a running satellite. Only then does the
relay hold the request and await `admit`. Each success of either is paid back by one `leave`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from torpor_provisioner.contract import Address, SleepKind
from torpor_statemachine.lifecycle.departure import Departure
from torpor_statemachine.lifecycle.states import State, WakeKind


@dataclass(frozen=True, slots=True)
class Admitted:
    """Leave to open streams. A worker connection made under one epoch is stale under another."""

    address: Address
    epoch: int
    wake_kind: WakeKind = WakeKind.HOT


@dataclass(frozen=True, slots=True)
class Outlook:
    """What those who wait for a satellite may be told, as this node saw it last.

    `usual_wake` is in seconds; `obstacle` says what is in the way of its wake just now, with a
    code ("TPR-2205 ..."), and is empty where nothing is.
    """

    state: State
    sleep_kind: SleepKind | None = None
    usual_wake: float | None = None
    obstacle: str = ""


class Gate(Protocol):
    """Implemented by `torpor_statemachine.fleet.Fleet`."""

    def enter(self, satellite_id: UUID) -> Admitted | None:
        """Count a stream in on a trusted lease, without I/O; None if there is none."""
        ...

    async def admit(self, satellite_id: UUID, *, actor: str, budget: float) -> Admitted:
        """Wake the satellite if need be, take the lease and count a stream in.

        Waits `budget` seconds at most. Cancelling it gives up this wait and nobody else's.

        Raises:
            TorporError: with the code of why it could not be.
        """
        ...

    def running_now(self, satellite_id: UUID) -> Admitted | None:
        """Where the satellite runs, if a trusted lease says that it does; no I/O.

        Nobody is counted in: it does not stay awake for this.
        """
        ...

    async def running(self, satellite_id: UUID) -> Admitted | None:
        """The same, asked of the database; None if it does not run, or is to sleep.

        Raises:
            DatabaseAway: nobody can tell.
        """
        ...

    def outlook(self, satellite_id: UUID) -> Outlook | None:
        """How it stands with a satellite that somebody waits for on this node; no I/O.

        None where nobody waits, or nobody has looked at it yet.
        """
        ...

    def leave(self, satellite_id: UUID) -> None:
        """Count a stream out; the last one out starts the idle clock."""
        ...

    def suspect(self, satellite_id: UUID) -> None:
        """Its worker cannot be reached, though it is believed to run: have its machine looked at.

        Returns at once. Should the machine sleep after all, `on_sleep` tells, and the next request
        wakes it.
        """
        ...

    def on_sleep(self, callback: Callable[[Departure], None]) -> None:
        """Have `callback` called, on the loop, when a satellite has left running.

        It comes within a second of the row's change (three where nothing but polling tells), and
        not for a lease that merely went missing: that one is taken again under its streams.
        """
        ...
