"""What an org has spent in a month, by the operator's prices: the same money as `torpor usage`."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from typing import NamedTuple

from torpor_router.usage.prices import Prices
from torpor_statemachine.store.usage import Total

NEAR = Decimal("0.8")  # of a budget: when a notice says that it is near
_HOUR = Decimal(3600)
_MICROSECOND = Decimal("0.000001")


class Spent(NamedTuple):
    """`amount` in the prices' currency; `unpriced`: seconds of machines without a price."""

    amount: Decimal
    unpriced: Decimal


def spent(totals: Iterable[Total], prices: Prices) -> Spent:
    amount = unpriced = Decimal(0)
    for each in totals:
        awake, off = _exact(each.awake), _exact(each.off)
        price = prices.of(each.provisioner, each.size)
        if price is None:
            unpriced += awake + off
        else:
            amount += awake * price.awake + off * price.asleep
    return Spent(amount / _HOUR, unpriced)


def first_of_month(day: date) -> date:
    return day.replace(day=1)


def _exact(seconds: float) -> Decimal:
    return Decimal(seconds).quantize(_MICROSECOND)
