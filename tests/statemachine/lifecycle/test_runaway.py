"""When a satellite is a runaway: compared with its own past, and never for an ordinary long day."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from torpor_statemachine.lifecycle.runaway import FLOOR, FLOOR_OF_NEW, Activity, judged

hours = st.floats(0, 24)
days = st.builds(Activity, hours, st.integers(0, 100_000))
pasts = st.lists(days, max_size=14)
USUAL = [Activity(6.0, 120)] * 10


def test_a_machine_that_mines_all_day() -> None:
    found = judged(Activity(14.0, 2), USUAL)
    assert found == (
        "awake for 14.0 h of a day, with 2 streams begun; on its busiest days of the last 14 it was"
        " awake for 6.0 h"
    )


def test_a_long_day_of_builds_is_none() -> None:
    assert judged(Activity(20.0, 300), USUAL) is None


def test_one_that_is_always_on_is_as_ever() -> None:
    assert judged(Activity(24.0, 0), [Activity(24.0, 500)] * 14) is None


def test_one_that_is_awake_most_of_the_day_has_little_room_for_more() -> None:
    past = [Activity(18.0, 900)] * 14
    assert judged(Activity(23.0, 3), past) is None
    assert judged(Activity(23.9, 3), past) is not None


def test_a_new_one_has_no_past() -> None:
    assert judged(Activity(FLOOR_OF_NEW - 0.1, 0), USUAL[:2]) is None
    assert "it is new" in (judged(Activity(21.0, 3), USUAL[:2]) or "")
    assert judged(Activity(21.0, 100), []) is None


@given(days, pasts)
def test_nothing_below_the_floor(day: Activity, past: list[Activity]) -> None:
    if day.hours < FLOOR:
        assert judged(day, past) is None


@given(hours, pasts, st.integers(0, 10_000), st.integers(0, 10_000))
def test_more_streams_never_make_one(
    awake: float, past: list[Activity], few: int, more: int
) -> None:
    if judged(Activity(awake, few), past) is None:
        assert judged(Activity(awake, few + more), past) is None


@given(days, st.lists(st.builds(Activity, st.floats(0.1, 24), st.integers(0, 999)), min_size=3))
def test_what_it_did_every_day_before_is_none(day: Activity, past: list[Activity]) -> None:
    if day.hours <= min(each.hours for each in past):
        assert judged(day, past) is None


@given(st.integers(0, 100), pasts)
def test_longer_awake_with_no_stream_stays_one(tenths: int, past: list[Activity]) -> None:
    shorter = 14 + tenths / 10
    if shorter <= 24 and judged(Activity(shorter, 0), past) is not None:
        assert judged(Activity(24.0, 0), past) is not None
