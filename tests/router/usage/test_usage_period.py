"""Two days, as they are written."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from torpor_router.usage.errors import BadPeriod
from torpor_router.usage.period import Period, read_period


def test_both_days_are_included_and_may_be_left_out() -> None:
    assert read_period("2024-02-01", "2024-02-29") == Period(date(2024, 2, 1), date(2024, 2, 29))
    today = datetime.now(UTC).date()
    assert read_period("", "").first.day == 1
    assert today <= read_period("", "").last
    assert read_period("2026-01-01", "2026-01-01").first == date(2026, 1, 1)


@pytest.mark.parametrize(
    ("first", "last"),
    [
        ("2024-02-30", ""),
        ("", "yesterday"),
        ("2024-02-01 ", ""),
        ("2024-02-02", "2024-02-01"),
        ("1999-01-01", "2024-02-01"),
        ("9999-01-01", ""),
        ("x" * 10_000, ""),
    ],
)
def test_what_is_no_period_is_refused(first: str, last: str) -> None:
    with pytest.raises(BadPeriod) as refused:
        read_period(first, last)
    assert len(str(refused.value)) < 300
