"""A file of prices is read, or refused in one line that says where."""

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torpor_router.usage.errors import BadPrices
from torpor_router.usage.prices import NO_PRICES, Price, read

GOOD = """
currency = "USD"
[ec2."c7i.xlarge"]
awake = 0.1785
asleep = 0.011
[ec2.default]
awake = 1
[local.default]
awake = 0
"""


def test_a_price_is_of_a_size_or_of_all_others() -> None:
    prices = read(GOOD)
    assert prices.currency == "USD"
    assert prices.of("ec2", "c7i.xlarge") == Price(Decimal("0.1785"), Decimal("0.011"))
    assert prices.of("ec2", "m7i.large") == Price(Decimal(1), Decimal(0))
    assert prices.of("local", "") == Price(Decimal(0))
    assert prices.of("vm", "small") is None
    assert NO_PRICES.of("ec2", "c7i.xlarge") is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "currency"),
        ("currency = 5", "currency"),
        ('currency = "dollars"', "currency"),
        ("currency = ", "Invalid value"),
        ('currency = "USD"\nec2 = 5', "'ec2' must be a table"),
        ('currency = "USD"\n[ec2]\nlarge = 5', "'ec2.large' must be a table"),
        ('currency = "USD"\n[ec2.large]\nasleep = 5', "needs 'awake'"),
        ('currency = "USD"\n[ec2.large]\nawake = 5\nnow = 1', "nothing else"),
        ('currency = "USD"\n[ec2.large]\nawake = "5"', "ec2.large.awake must be a number"),
        ('currency = "USD"\n[ec2.large]\nawake = true', "must be a number"),
        ('currency = "USD"\n[ec2.large]\nawake = -0.1', "from 0 to"),
        ('currency = "USD"\n[ec2.large]\nawake = nan', "from 0 to"),
        ('currency = "USD"\n[ec2.large]\nawake = 1e999999', "from 0 to"),
    ],
)
def test_another_form_is_refused(text: str, says: str) -> None:
    with pytest.raises(BadPrices, match=says) as refused:
        read(text)
    assert refused.value.code == "TPR-5226"


@given(st.text() | st.text(alphabet='[]."=a1ec2\n'))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(BadPrices):
        assert read('currency = "USD"\n' + text).currency == "USD"
