"""Hours and money by day: the arithmetic is `torpor_router.usage`'s."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from aiohttp import web

from torpor_router.status import plots
from torpor_router.status.errors import BadFilter
from torpor_router.status.guard import Viewer
from torpor_router.status.pages import Pages
from torpor_router.usage.period import Period, read_period
from torpor_router.usage.prices import Prices
from torpor_router.usage.report import By, Line, cents, report
from torpor_statemachine.store.usage import Day, Usage

_DEFAULT = timedelta(days=30)
LONGEST = 92  # days that are drawn


class UsagePage:
    def __init__(self, pages: Pages, usage: Usage, prices: Prices) -> None:
        self._pages = pages
        self._usage = usage
        self._prices = prices

    async def page(self, request: web.Request, viewer: Viewer) -> web.Response:
        """
        Raises:
            BadPeriod, BadFilter: no such days.
        """
        period = _period(request)
        scope = viewer.scope
        names = sorted(scope.names) if scope.names is not None else None
        days = await self._usage.by_day(*period, viewer.org, names)
        by_day, by_size, total = await asyncio.to_thread(self._reports, days)
        priced = bool(self._prices.currency)
        return await self._pages.html(
            "usage.html",
            viewer,
            period=period,
            currency=self._prices.currency,
            hours=plots.hours_by_day(by_day),
            money=plots.money_by_day(by_day) if priced else [],
            days=by_day,
            sizes=by_size,
            total=total,
            cents=cents,
        )

    def _reports(self, days: list[Day]) -> tuple[list[Line], list[Line], Line]:
        by_day, total = report(days, self._prices, By.DAY)
        by_size, _ = report(days, self._prices, By.SIZE)
        return by_day, by_size, total


def _period(request: web.Request) -> Period:
    today = datetime.now(UTC).date()
    first = request.query.get("from") or (today - _DEFAULT).isoformat()
    period = read_period(first, request.query.get("to", ""))
    if (period.last - period.first).days >= LONGEST:
        raise BadFilter(f"{LONGEST} days at most; 'torpor usage' and 'satellite usage' tell more")
    return period
