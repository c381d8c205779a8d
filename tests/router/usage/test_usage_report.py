"""A month by hand, to the cent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torpor_router.usage.errors import BadGrouping
from torpor_router.usage.prices import Price, Prices
from torpor_router.usage.report import By, cents, report
from torpor_statemachine.lifecycle.states import State, WakeKind
from torpor_statemachine.store.usage import Day

PRICES = Prices(
    "USD",
    {
        "ec2": {
            "c7i.xlarge": Price(Decimal("0.1785"), Decimal("0.0110")),
            "m7i.large": Price(Decimal("0.1008"), Decimal("0.0054")),
        }
    },
)
STATES = [state for state in State if state is not State.TERMINATED]


def a_day(
    at: date,
    name: str = "one",
    org: str = "acme",
    size: str = "c7i.xlarge",
    *,
    woke: int = 0,
    streams: int = 0,
    held: float = 0.0,
    **hours: float,
) -> Day:
    seconds = {state: hours.pop(state.value, 0.0) * 3600 for state in STATES}
    assert not hours
    wakes = {WakeKind.RESUMED: woke, WakeKind.STARTED: 0, WakeKind.LAUNCHED: 0}
    return Day(UUID(int=1), at, UUID(int=2), org, name, seconds, wakes, streams, held, "ec2", size)  # type: ignore[arg-type]


def month() -> Iterator[Day]:
    """February of a leap year: 29 days, one awake for 6 h on 21 working days and asleep else.

    Another one lives from the 10th at 06:00 to the 12th at 18:00, always awake, of another size.
    """
    for n in range(29):
        at = date(2024, 2, 1) + timedelta(days=n)
        if at.weekday() < 5:
            hours = {"running": 5.75, "waking": 0.05, "sleeping": 0.2, "asleep": 18.0}
            yield a_day(at, woke=3, streams=40, held=90.5, **hours)  # type: ignore[arg-type]
        else:
            yield a_day(at, asleep=24.0)
    for at, hours in (((10), 18.0), ((11), 24.0), ((12), 18.0)):  # type: ignore[assignment]
        yield a_day(date(2024, 2, at), "two", "globex", "m7i.large", running=hours)  # type: ignore[arg-type]


def test_a_month_by_hand() -> None:
    [acme, globex], total = report(month(), PRICES, By.SATELLITE)
    # 21 working days x 6 h = 126 h at 0.1785; 29 x 24 - 126 = 570 h at 0.011
    assert (acme.name, acme.awake, acme.asleep) == ("acme/one", 126 * 3600, 570 * 3600)
    assert cents(acme.spent) == Decimal("28.76")  # 22.491 + 6.27
    assert cents(acme.always_on) == Decimal("124.24")  # 696 h: 124.236
    assert cents(acme.saved) == Decimal("95.48")  # 95.475
    assert acme.waking == 3780  # 21 x 3 min
    assert (acme.wakes[WakeKind.RESUMED], acme.streams, acme.held) == (63, 840, Decimal("1900.5"))
    # 60 h at 0.1008, never asleep
    assert (globex.name, cents(globex.spent), cents(globex.saved)) == (
        "globex/two",
        Decimal("6.05"),
        Decimal(0),
    )
    assert cents(total.spent) == Decimal("34.81")  # 28.761 + 6.048
    assert total.unpriced == 0


def test_what_has_a_line() -> None:
    days = list(month())
    assert [line.name for line in report(days, PRICES, By.ORG)[0]] == ["acme", "globex"]
    assert [line.name for line in report(days, PRICES, By.SIZE)[0]] == [
        "ec2 c7i.xlarge",
        "ec2 m7i.large",
    ]
    by_day, _ = report(days, PRICES, By.DAY)
    assert [line.name for line in by_day][::14] == ["2024-02-01", "2024-02-15", "2024-02-29"]


def test_the_values_of_a_label() -> None:
    at = date(2024, 2, 1)
    days = [
        replace(a_day(at, running=2.0), labels={"team": "web", "tier": "1"}),
        replace(a_day(at, "two", running=1.0), labels={"team": "web"}),
        replace(a_day(at, "three", running=4.0), labels={"tier": "1"}),
    ]
    lines, total = report(days, PRICES, "label:team")
    assert [(line.name, line.awake / 3600) for line in lines] == [("(none)", 4), ("web", 3)]
    assert total.awake == 7 * 3600


@pytest.mark.parametrize("by", ["", "team", "label:", "label:a b", "label:" + "x" * 64, "label"])
def test_what_has_no_line(by: str) -> None:
    with pytest.raises(BadGrouping):
        report([], PRICES, by)


def test_a_size_without_a_price_says_so() -> None:
    days = [
        a_day(date(2024, 2, 1), running=1.0, asleep=1.0),
        a_day(date(2024, 2, 2), size="x9.huge", running=2.5, failed=0.5),
    ]
    [line], total = report(days, PRICES, By.SATELLITE)
    assert (line.awake, line.asleep, line.failed) == (3.5 * 3600, 3600, 1800)
    assert line.unpriced == 3 * 3600
    assert total.spent == Decimal("0.1895")


DAYS = st.builds(
    a_day,
    st.dates(date(2024, 1, 1), date(2024, 12, 31)),
    st.sampled_from(("one", "two")),
    st.sampled_from(("acme", "globex")),
    st.sampled_from(("c7i.xlarge", "m7i.large", "x9.huge")),
    woke=st.integers(0, 9),
    running=st.floats(0, 24),
    asleep=st.floats(0, 24),
    failed=st.floats(0, 24),
)


@given(st.lists(DAYS, max_size=30))
def test_lines_add_up_to_the_total_in_any_grouping(days: list[Day]) -> None:
    totals = []
    for by in By:
        lines, total = report(days, PRICES, by)
        for amount in ("awake", "asleep", "failed", "_spent", "_always_on", "unpriced"):
            assert sum(getattr(line, amount) for line in lines) == getattr(total, amount)
        totals.append((total.spent, total.saved, total.wakes))
        assert total.saved >= 0
    assert all(each == totals[0] for each in totals)
