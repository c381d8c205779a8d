"""What a person's command begins, by the state that the satellite is in: pure decisions.

A node decides so, and so does a shell that stands beside the database.
"""

from __future__ import annotations

from collections.abc import Sequence

from torpor_statemachine.errors import BackingOff, RouterSilent, SatelliteBusy, WrongState
from torpor_statemachine.lifecycle.keeping import Keeper, in_words
from torpor_statemachine.lifecycle.machine import Event
from torpor_statemachine.lifecycle.policy import ClaimWake, RequestWake
from torpor_statemachine.lifecycle.satellite import Satellite
from torpor_statemachine.lifecycle.states import State


def to_wake(satellite: Satellite) -> ClaimWake | RequestWake | None:
    """None: it is awake, or will be.

    Raises:
        BackingOff: its last wake failed, and it is too early for another.
        WrongState: it cannot be woken.
    """
    match satellite.state:
        case State.RUNNING | State.WAKING | State.LAUNCHING:
            return None
        case State.ASLEEP if satellite.retry_in > 0:
            raise BackingOff(f"in {satellite.retry_in:.0f} s; {satellite.failure}")
        case State.ASLEEP:
            return ClaimWake()
        case State.SLEEPING:
            return RequestWake()
        case _:
            raise wrong_state(satellite)


def to_sleep(satellite: Satellite) -> Event | None:
    """The event that begins it; None: it sleeps, or is falling asleep.

    Raises:
        WrongState: it cannot be put to sleep.
    """
    match satellite.state:
        case State.SLEEPING | State.ASLEEP:
            return None
        case State.RUNNING:
            return Event.SLEEP
        case _:
            raise wrong_state(satellite)


def to_terminate(satellite: Satellite, *, force: bool) -> Event | None:
    """The event that begins it; None: it has ended, or is ending. Only by `force` while it is
    launching: whoever launches it waits for it.

    Raises:
        WrongState: it cannot be ended now.
    """
    match satellite.state:
        case State.TERMINATING | State.TERMINATED:
            return None
        case State.RUNNING | State.ASLEEP | State.FAILED:
            return Event.TERMINATE
        case State.LAUNCHING if force:
            return Event.GIVE_UP
        case _:
            raise wrong_state(satellite)


def wrong_state(satellite: Satellite) -> WrongState:
    """It is in a state in which that cannot be done."""
    return WrongState(f"{satellite.full_name} is {satellite.state}")


def busy(satellite: Satellite, keepers: Sequence[Keeper]) -> SatelliteBusy:
    """What keeps it from being put to sleep, or removed."""
    detail = f"{satellite.full_name}: {in_words(keepers)}" if keepers else satellite.full_name
    if keepers and all(each.is_silent for each in keepers):
        return RouterSilent(detail)
    return SatelliteBusy(detail)
