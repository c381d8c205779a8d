"""What this month has been so far, of all satellites and by group: hours, wakes, streams, money.

Asked of the database now and then, never while a scrape waits: the next one has it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime

from torpor_router.telemetry import catalogue
from torpor_router.telemetry.catalogue import Metric
from torpor_router.telemetry.instruments import Instruments, Values
from torpor_router.usage.groups import Groups
from torpor_router.usage.prices import Prices
from torpor_router.usage.report import LABEL, Line, report
from torpor_statemachine.postgres.pool import Database, DatabaseAway
from torpor_statemachine.store.usage import Day, Usage

log = logging.getLogger(__name__)

AGE = 300.0  # seconds for which an answer is not asked for again
OTHER = "(other)"

_Series = Iterator[tuple[tuple[str, ...], float]]  # values of the labels beside the group's
_SeriesOf = Callable[[Line], _Series]
Group = tuple[str, str]  # by what, and its name; both empty: all satellites


class Month:
    """Days are days in UTC, and so is the month."""

    def __init__(self, database: Database, prices: Prices, groups: Groups) -> None:
        self._usage = Usage(database)
        self._prices = prices
        self._groups = groups
        self._lines: dict[Group, Line] = {}
        self._asked_at = float("-inf")
        self._asking: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Month of {len(self._lines)} groups>"

    def read_by(self, instruments: Instruments) -> None:
        """Have its metrics read at each scrape."""
        read = instruments.read
        read(catalogue.MONTH_HOURS, lambda: self._values(catalogue.MONTH_HOURS, _hours))
        read(catalogue.MONTH_WAKES, lambda: self._values(catalogue.MONTH_WAKES, _wakes))
        read(catalogue.MONTH_STREAMS, lambda: self._values(catalogue.MONTH_STREAMS, _streams))
        read(catalogue.MONTH_HELD, lambda: self._values(catalogue.MONTH_HELD, _held))
        if self._prices.currency:
            read(catalogue.MONTH_MONEY, lambda: self._values(catalogue.MONTH_MONEY, self._money))

    def refresh(self) -> None:
        """Begin to bring it up to date, unless that was done lately. To be called on the loop."""
        now = asyncio.get_running_loop().time()
        if self._asking is None and now - self._asked_at >= AGE:
            self._asked_at = now
            self._asking = asyncio.create_task(self._ask(), name="usage of this month")

    async def aclose(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait([self._asking])

    async def _ask(self) -> None:
        today = datetime.now(UTC).date()
        labelled = any(by.startswith(LABEL) for by in self._groups.by)
        try:
            days = await self._usage.totals(today.replace(day=1), today, by_label=labelled)
            self._lines = await asyncio.to_thread(self._added_up, days)
        except DatabaseAway:
            self._lines = {}
        except Exception:
            log.exception("the month's usage could not be added up")
        finally:
            self._asking = None

    def _added_up(self, days: Sequence[Day]) -> dict[Group, Line]:
        _, total = report(days, self._prices, "size")
        found: dict[Group, Line] = {("", ""): total}
        for by in self._groups.by:
            lines, _ = report(days, self._prices, by)
            for name, line in _bounded(lines, self._groups.most):
                found[by, name] = line
        return found

    def _values(self, metric: Metric, tell: _SeriesOf) -> Values:
        labels = [label for label in metric.labels if label not in ("by", "group")]
        return [
            (float(value), {"by": by, "group": group, **dict(zip(labels, names, strict=True))})
            for (by, group), line in list(self._lines.items())
            for names, value in tell(line)
        ]

    def _money(self, line: Line) -> _Series:
        currency = self._prices.currency
        yield ("spent", currency), float(line.spent)
        yield ("always_on", currency), float(line.always_on)
        yield ("saved", currency), float(line.saved)


def _bounded(lines: list[Line], most: int) -> Iterable[tuple[str, Line]]:
    """The largest by their hours, which every node finds to be the same; the rest as one."""
    ranked = sorted(lines, key=lambda line: (-line.whole, line.name))
    for line in ranked[:most]:
        yield line.name, line
    if ranked[most:]:
        rest = Line(OTHER)
        for line in ranked[most:]:
            rest.absorb(line)
        yield OTHER, rest


def _hours(line: Line) -> _Series:
    for state in ("awake", "waking", "asleep", "failed"):
        yield (state,), float(getattr(line, state)) / 3600


def _wakes(line: Line) -> _Series:
    for kind, times in line.wakes.items():
        yield (kind.value,), times


def _streams(line: Line) -> _Series:
    yield (), line.streams


def _held(line: Line) -> _Series:
    yield (), float(line.held)
