"""What the lifecycle tells telemetry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torpor_provisioner.errors import TorporError
from torpor_statemachine.lifecycle.satellite import Satellite, Transition
from torpor_statemachine.lifecycle.states import State, WakeKind


@dataclass(frozen=True, slots=True)
class Step:
    """A part of a transition's work, with its times by `clock.now`."""

    name: str
    began: float
    ended: float
    error: TorporError | None = None


@dataclass(frozen=True, slots=True)
class Worked:
    """What a node did under one claim, once it has ended or was left to another node.

    `state` and `epoch` are the claim's, `last` is the last transition that was written (None: it
    was left), and `missed` says how many steps there were beside `steps`.
    """

    satellite: Satellite
    state: State
    epoch: int
    began: float
    ended: float
    last: Transition | None
    steps: tuple[Step, ...]
    missed: int = 0


class Observer(Protocol):
    """Told on the event loop, of what this node did; must return at once and never raise."""

    def transitioned(self, transition: Transition, satellite: Satellite) -> None:
        """A row was added to the transitions log."""
        ...

    def woke(self, satellite: Satellite, kind: WakeKind, took: float) -> None:
        """A worker answered, `took` seconds after its wake was claimed."""
        ...

    def worked(self, worked: Worked) -> None:
        """The work of a claim is over; told before those who wait for it go on."""
        ...

    def lost_memory(self, satellite: Satellite) -> None:
        """It was told to hibernate, and its machine booted anew."""
        ...

    def provisioner_failed(
        self, satellite: Satellite | None, call: str, error: TorporError
    ) -> None:
        """A call to the cloud failed, for one satellite or (None) for many; whether it is tried
        again is told by what follows."""
        ...

    def database(self, *, answers: bool) -> None:
        """Postgres was lost, or found again."""
        ...


class Unobserved:
    """The observer of who does not care."""

    def transitioned(self, transition: Transition, satellite: Satellite) -> None:
        pass

    def woke(self, satellite: Satellite, kind: WakeKind, took: float) -> None:
        pass

    def worked(self, worked: Worked) -> None:
        pass

    def lost_memory(self, satellite: Satellite) -> None:
        pass

    def provisioner_failed(
        self, satellite: Satellite | None, call: str, error: TorporError
    ) -> None:
        pass

    def database(self, *, answers: bool) -> None:
        pass
