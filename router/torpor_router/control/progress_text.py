"""What a person is told while a satellite is on its way somewhere."""

from __future__ import annotations

from enum import Enum

from torpor_provisioner.contract import SleepKind
from torpor_statemachine.errors import in_short
from torpor_statemachine.lifecycle.satellite import Satellite
from torpor_statemachine.lifecycle.states import SleepMode, State


class Goal(Enum):
    AWAKE = "awake"
    ASLEEP = "asleep"
    NONE = "none"  # the caller only looks on


_STARTING = {
    SleepKind.HIBERNATED: "the machine is starting (resumed memory)",
    SleepKind.STOPPED: "the machine is starting (from its disk)",
    None: "the machine is starting",
}
_SLEEPING = {
    SleepMode.HIBERNATE: "the machine is hibernating",
    SleepMode.STOP: "the machine is stopping",
    SleepMode.AUTO: "the machine is falling asleep",
}
_OTHERS = {
    State.LAUNCHING: "a new machine is being launched",
    State.UPDATING: "the machine is being updated",
    State.TERMINATING: "the machine is being ended",
}

_CHANGES = {
    State.RUNNING: "its machine is changed as soon as it sleeps",
    State.ASLEEP: "about to be changed",
}


def waiting_for(satellite: Satellite, goal: Goal, *, slept: SleepKind | None) -> str:
    """One line, or nothing where there is no wait.

    `slept` is how the satellite slept before it began to wake, as far as that was seen.
    """
    line = _line(satellite, goal, slept)
    if satellite.change_pending:
        line = line or _CHANGES.get(satellite.state, "")
    if line and satellite.obstacle:
        line = f"{line}: {in_short(satellite.obstacle)}"
    return line


def _line(satellite: Satellite, goal: Goal, slept: SleepKind | None) -> str:
    match satellite.state, goal:
        case State.WAKING, _:
            return _STARTING[satellite.sleep_kind or slept]
        case State.SLEEPING, Goal.AWAKE:
            return "still falling asleep; wakes as soon as it can"
        case State.SLEEPING, _:
            return _SLEEPING[satellite.sleep_mode]
        case State.ASLEEP, Goal.AWAKE if satellite.failure:
            return "its last wake failed; the next try is due soon"
        case State.ASLEEP, Goal.AWAKE:
            return "asleep; about to be started"
        case state, _:
            return _OTHERS.get(state, "")
