"""Each call of torpor.v1.Usage, apart from gRPC."""

from __future__ import annotations

from torpor_router.access.audit import State
from torpor_router.control.errors import UnknownChoice
from torpor_router.control.ports import Caller
from torpor_router.control.v1 import usage_pb2 as pb
from torpor_router.usage.period import read_period
from torpor_router.usage.prices import Prices
from torpor_router.usage.report import LABEL, By, check_grouping, fields, report
from torpor_statemachine.store.usage import Usage

_BY = (By.SATELLITE, By.SIZE, By.DAY)


class UsageCalls:
    """Named as in the .proto, in lower case. All raise TorporError."""

    def __init__(self, usage: Usage, prices: Prices) -> None:
        self._usage = usage
        self._prices = prices

    async def report(self, caller: Caller, request: pb.ReportRequest) -> pb.ReportReply:
        period = read_period(request.first_day, request.last_day)
        by = request.by or By.SATELLITE
        if by not in _BY and not by.startswith(LABEL):
            raise UnknownChoice(f"by {by[:40]!r}; it is one of {', '.join(_BY)}, {LABEL}KEY")
        check_grouping(by)
        days = await self._usage.days(*period, caller.org)
        only = caller.grant.satellites
        if only is not None:
            days = [day for day in days if day.name in only]
        lines, total = report(days, self._prices, by)
        return pb.ReportReply(
            first_day=period.first.isoformat(),
            last_day=period.last.isoformat(),
            currency=self._prices.currency,
            lines=[pb.UsageLine(**fields(line)) for line in lines],
            total=pb.UsageLine(**fields(total)),
        )

    async def snapshot(self, _: Caller, __: pb.ReportRequest) -> State | None:
        return None  # nothing is changed here
