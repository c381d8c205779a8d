"""Nothing is lost or made up between the lifecycle, the wire and a client."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torpor_provisioner.contract import Address, Arch, SleepKind
from torpor_router.control.messages import (
    ARCHS,
    SLEEP_KINDS,
    SLEEP_MODES,
    STATES,
    WAKE_KINDS,
    SatelliteView,
    TransitionView,
    satellite_message,
    transition_message,
)
from torpor_router.control.v1 import torpor_pb2 as pb
from torpor_statemachine.lifecycle.satellite import Satellite, Transition
from torpor_statemachine.lifecycle.states import SleepMode, State, WakeKind

durations = st.timedeltas(timedelta(0), timedelta(days=3650))
times = durations.map(lambda since: datetime(2020, 1, 1, tzinfo=UTC) + since)
texts = st.text(st.characters(codec="utf-8"), max_size=40)
some_text = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)

satellites = st.builds(
    Satellite,
    id=st.uuids(),
    org_id=st.uuids(),
    org=texts,
    name=texts,
    provisioner=texts,
    arch=st.sampled_from(Arch),
    size=texts,
    sleep_mode=st.sampled_from(SleepMode),
    sleep_after=durations,
    state=st.sampled_from(State),
    state_since=times,
    created_at=times,
    generation=st.integers(1, 2**31 - 1),
    epoch=st.integers(0, 2**63 - 1),
    ref=st.none() | some_text,
    address=st.none() | st.builds(Address, st.sampled_from(["10.0.0.1", "::1"]), st.integers(1)),
    sleep_kind=st.none() | st.sampled_from(SleepKind),
    idle_since=st.none() | times,
    failure=st.none() | some_text,
)
transitions = st.builds(
    Transition,
    id=st.integers(1, 2**63 - 1),
    satellite_id=st.uuids(),
    epoch=st.integers(0, 2**63 - 1),
    event=texts,
    source=st.sampled_from(State),
    target=st.sampled_from(State),
    at=times,
    node_id=st.none() | st.uuids(),
    actor=texts,
    reason=texts,
    wake_kind=st.none() | st.sampled_from(WakeKind),
    took=st.none() | durations,
    detail=texts,
)


@given(satellites)
def test_a_client_sees_the_satellite_as_it_is(satellite: Satellite) -> None:
    wire = satellite_message(satellite).SerializeToString()
    view = SatelliteView.of(pb.Satellite.FromString(wire))
    for field in fields(view):
        seen, real = getattr(view, field.name), getattr(satellite, field.name)
        match field.name:
            case "id":
                assert seen == str(real)
            case "address" if real is not None:
                host, _, port = seen.rpartition(":")
                assert (host.strip("[]"), int(port)) == real
            case _:
                assert seen == real, field.name


@given(transitions)
def test_a_client_sees_the_transition_as_it_was(transition: Transition) -> None:
    wire = transition_message(transition).SerializeToString()
    view = TransitionView.of(pb.Transition.FromString(wire))
    for field in fields(view):
        seen, real = getattr(view, field.name), getattr(transition, field.name)
        assert seen == (str(real) if field.name == "node_id" and real else real), field.name


@pytest.mark.parametrize(
    ("words", "numbers", "enum"),
    [
        (STATES, pb.State, State),
        (ARCHS, pb.Arch, Arch),
        (SLEEP_MODES, pb.SleepMode, SleepMode),
        (SLEEP_KINDS, pb.SleepKind, SleepKind),
        (WAKE_KINDS, pb.WakeKind, WakeKind),
    ],
)
def test_each_word_has_its_number_and_each_number_its_word(words, numbers, enum) -> None:
    for word in enum:
        assert words.word(words.number(word)) is word
    assert len(numbers.values()) == len(enum) + 1
    assert words.word(0) is None
    assert words.word(99) is None
    assert words.number(None) == 0
