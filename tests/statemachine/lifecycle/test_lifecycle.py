"""The table: every state reached, every event known, and nothing that cannot happen."""

from __future__ import annotations

import pytest
from statemachine.exceptions import TransitionNotAllowed

from torpor_statemachine.lifecycle.machine import (
    EVENTS,
    Event,
    Lifecycle,
    diagram,
    target,
)
from torpor_statemachine.lifecycle.states import TRANSIENT_STATES, State


def test_the_class_and_the_words_are_the_same() -> None:
    assert {State(state.id) for state in Lifecycle.states} == set(State)
    assert set(EVENTS) == set(Event) - {Event.LAUNCH, Event.TOOK_OVER}


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("source", State)
def test_the_table_says_what_the_class_does(event: Event, source: State) -> None:
    machine = Lifecycle(start_value=source.value)
    if source in EVENTS[event].sources:
        machine.send(event.value)
        assert State(machine.current_state_value) == target(event, source)
    else:
        with pytest.raises(TransitionNotAllowed):
            machine.send(event.value)
        with pytest.raises(ValueError, match=event.value):
            target(event, source)


def test_every_passing_state_can_end_well_and_badly() -> None:
    for state in TRANSIENT_STATES:
        leaving = {event for event, edge in EVENTS.items() if state in edge.sources}
        assert len(leaving) >= 2, state


def test_the_diagram_shows_every_state() -> None:
    assert all(state.value in diagram() for state in State)
