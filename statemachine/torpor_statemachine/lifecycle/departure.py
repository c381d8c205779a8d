"""A satellite that has left running, or its address: by whose doing, and which streams are over."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from torpor_provisioner.errors import TorporError
from torpor_statemachine.errors import FoundAsleep, MachineGone, MachineMoved, PutToSleep, Removed
from torpor_statemachine.lifecycle.machine import Event
from torpor_statemachine.lifecycle.satellite import Transition
from torpor_statemachine.lifecycle.states import State


@dataclass(frozen=True, slots=True)
class Departure:
    """Whatever was admitted under an epoch before `epoch` has lost its worker.

    `why` is what its streams are ended with; None where none was open.
    """

    satellite_id: UUID
    epoch: int
    why: TorporError | None = None


def departure(transition: Transition) -> Departure | None:
    """What `transition` means for open streams; None if their worker is where it was."""
    stays = transition.target is State.RUNNING and transition.event != Event.MOVED
    if transition.source is not State.RUNNING or stays:
        return None
    return Departure(transition.satellite_id, transition.epoch, _why(transition))


def _why(transition: Transition) -> TorporError:
    match transition.event:
        case Event.SLEEP:
            return PutToSleep(_by(transition))
        case Event.TERMINATE:
            return Removed(_by(transition))
        case Event.FOUND_ASLEEP:
            return FoundAsleep(transition.detail)
        case Event.MOVED:
            return MachineMoved(transition.detail)
        case _:
            return MachineGone(transition.detail)


def _by(transition: Transition) -> str:
    return f"by {transition.actor} ({transition.reason})"
