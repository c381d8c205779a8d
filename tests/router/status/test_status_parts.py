"""What pages are made of, without a server: strips, filters, bars."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from urllib.parse import parse_qsl

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torpor_router.status import filters, plots, strips
from torpor_router.status.errors import BadFilter
from torpor_statemachine.lifecycle.states import State, WakeKind
from torpor_statemachine.store.incidents import EDGES, Wakes
from torpor_statemachine.store.overview import Filter, Step

NOW = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)


def step(hours_ago: float, source: State, target: State, actor: str = "") -> Step:
    return Step(NOW - hours_ago * HOUR, source, target, actor)


def lengths(strip: strips.Strip) -> list[tuple[State | None, float]]:
    return [(bar.span.state, bar.width) for bar in strip.bars]


def test_a_day_is_what_its_steps_say() -> None:
    steps = [
        step(10, State.ASLEEP, State.WAKING, "token:ci"),
        step(9.5, State.WAKING, State.RUNNING, "token:ci"),
        step(9, State.RUNNING, State.RUNNING),  # it was changed, or moved
        step(4, State.RUNNING, State.SLEEPING, "reaper"),
        step(3, State.SLEEPING, State.ASLEEP, "reaper"),
    ]
    day = strips.last_day(steps, State.ASLEEP, steps[-1].at, NOW)
    assert lengths(day) == [
        *((State.ASLEEP, 840.0), (State.WAKING, 30.0), (State.RUNNING, 330.0)),
        *((State.SLEEPING, 60.0), (State.ASLEEP, 180.0)),
    ]
    assert day.said == "asleep 17h, running 5h 30m, sleeping 1h, waking 30m"
    assert day.bars[2].span.said.startswith("running by token:ci, Fri 03:00 to 08:30 UTC")


def test_what_is_not_known_is_not_made_up() -> None:
    assert lengths(strips.last_day([], State.ASLEEP, NOW - 30 * HOUR, NOW)) == [
        (State.ASLEEP, 1440.0)
    ]
    assert lengths(strips.last_day([], State.ASLEEP, NOW - 6 * HOUR, NOW)) == [
        *((None, 1080.0), (State.ASLEEP, 360.0))
    ]
    launch = [step(2, State.LAUNCHING, State.LAUNCHING), step(1, State.LAUNCHING, State.RUNNING)]
    assert lengths(strips.last_day(launch, State.RUNNING, launch[1].at, NOW)) == [
        *((None, 1320.0), (State.LAUNCHING, 60.0), (State.RUNNING, 60.0))
    ]


def test_a_week_is_seven_days_and_the_rest_of_today_is_to_come() -> None:
    week = strips.week([], State.ASLEEP, NOW - 400 * HOUR, NOW)
    assert [row.title for row in week][::6] == ["Fri 20 Nov", "Sat 14 Nov"]
    assert lengths(week[0]) == [(State.ASLEEP, 750.0)]
    assert all(lengths(row) == [(State.ASLEEP, 1440.0)] for row in week[1:])


STATES = st.sampled_from([*State])


@given(st.lists(st.tuples(st.floats(0, 200), STATES, STATES), max_size=20), STATES)
def test_no_minute_is_drawn_twice(steps: list[tuple[float, State, State]], state: State) -> None:
    ordered = [step(*each) for each in sorted(steps, key=lambda each: -each[0])]
    since = ordered[-1].at if ordered else NOW - HOUR
    start = NOW - timedelta(days=7)
    found = strips.spans(ordered, state, since, start, NOW)
    assert found[0].start == start
    assert found[-1].end == NOW
    assert all(a.end == b.start for a, b in pairwise(found))


def test_a_filter_is_read_as_it_is_written() -> None:
    only = Filter(text="acme/1", state=State.ASLEEP, label="team", value="core & co")
    assert filters.read(dict(parse_qsl(filters.written(only)[1:]))) == only
    assert filters.read({}) == Filter()
    assert filters.written(Filter()) == "?"
    assert filters.read({"label": "team", "after": "acme/one"}) == Filter(
        label="team", after=("acme", "one")
    )
    with pytest.raises(BadFilter, match="TPR-5503"):
        filters.read({"state": "terminated"})


@settings(max_examples=40)
@given(st.dictionaries(st.sampled_from(["q", "state", "label", "after"]), st.text(max_size=120)))
def test_any_query_is_read_or_refused(query: Mapping[str, str]) -> None:
    with suppress(BadFilter):
        filters.written(filters.read(query)).encode()


def test_bars_are_as_wide_as_their_share() -> None:
    parts = plots.shares({State.ASLEEP: 3, State.RUNNING: 1, State.FAILED: 0})
    assert [(part.state, part.x, part.width) for part in parts] == [
        *((State.RUNNING, 0.0, 250.0), (State.ASLEEP, 250.0, 750.0))
    ]
    assert plots.shares({}) == []
    wakes = Wakes(WakeKind.RESUMED, [0] * len(EDGES) + [4], 400.0, 500.0)
    assert [each.heights for each in plots.histogram(wakes)][-2:] == [[0.0], [1000.0]]
    assert plots.bucket_labels()[0] == "<0.25s"
    assert plots.bucket_labels()[-1] == "≥5m"
