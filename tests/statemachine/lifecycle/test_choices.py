"""What a person's command begins, in every state."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from controlkit.fakes import satellite

from torpor_statemachine.errors import BackingOff, WrongState
from torpor_statemachine.lifecycle.choices import to_sleep, to_terminate, to_wake
from torpor_statemachine.lifecycle.machine import EVENTS, Event
from torpor_statemachine.lifecycle.policy import ClaimWake, RequestWake
from torpor_statemachine.lifecycle.satellite import Satellite
from torpor_statemachine.lifecycle.states import State

CHOICES: list[Callable[[Satellite], Event | None]] = [
    to_sleep,
    partial(to_terminate, force=False),
    partial(to_terminate, force=True),
]


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("choose", CHOICES)
def test_what_is_chosen_is_an_event_of_that_state(choose, state: State) -> None:
    try:
        event = choose(satellite(state=state))
    except WrongState:
        return
    if event is not None:
        assert state in EVENTS[event].sources


def test_a_launch_is_given_up_by_force_alone() -> None:
    launching = satellite(state=State.LAUNCHING)
    assert to_terminate(launching, force=True) is Event.GIVE_UP
    with pytest.raises(WrongState):
        to_terminate(launching, force=False)


def test_a_wake_is_claimed_requested_or_under_way() -> None:
    assert to_wake(satellite(state=State.ASLEEP)) == ClaimWake()
    assert to_wake(satellite(state=State.SLEEPING)) == RequestWake()
    assert to_wake(satellite(state=State.WAKING)) is None
    with pytest.raises(BackingOff, match="in 7 s"):
        to_wake(satellite(state=State.ASLEEP, retry_in=7.0))
    with pytest.raises(WrongState):
        to_wake(satellite(state=State.FAILED))
