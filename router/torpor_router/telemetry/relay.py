"""What the relay tells, as metrics and log lines."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from opentelemetry.metrics import Counter

from torpor_provisioner.errors import TorporError
from torpor_router.rate_limited_log import RateLimitedLog
from torpor_router.relay.events import Waiting
from torpor_router.routing import Route
from torpor_router.telemetry import catalogue
from torpor_router.telemetry.instruments import Instruments
from torpor_router.telemetry.refusals import RefusalLog
from torpor_router.telemetry.trace_ids import trace_id
from torpor_statemachine.lifecycle.states import WakeKind

if TYPE_CHECKING:  # the SDK is imported where there are traces
    from torpor_router.telemetry.traces.holds import HoldSpans

log = logging.getLogger("torpor.door")


class RelayObserver:
    """Implements `relay.events.Observer`."""

    def __init__(
        self, instruments: Instruments, refusals: Counter, spans: HoldSpans | None = None
    ) -> None:
        self._spans = spans
        self._holds = instruments.histogram(catalogue.HOLD)
        self._refusals = RefusalLog(refusals, log)
        self._lost = instruments.counter(catalogue.WORKER_LOST)
        self._log = RateLimitedLog(log)

    def connection_opened(self, peer: str) -> None:
        log.debug("connection opened", extra={"peer": peer})

    def connection_closed(self, peer: str, why: str) -> None:
        log.debug("connection closed", extra={"peer": peer, "why": why})

    def held(self, request: Waiting, route: Route, waited: float) -> None:
        if self._spans is not None:
            self._spans.held(request, route, waited)
        self._tell("held", request, route)

    def admitted(self, request: Waiting, epoch: int) -> None:
        if self._spans is not None:
            self._spans.admitted(request, epoch)

    def released(self, request: Waiting, route: Route, waited: float, kind: WakeKind) -> None:
        if self._spans is not None:
            self._spans.released(request, waited, kind)
        self._holds.record(waited, {"wake_kind": kind.value, "outcome": "released"})
        self._tell("let through", request, route, waited=round(waited, 3), kind=kind.value)

    def gave_up(
        self, request: Waiting, route: Route, waited: float, error: TorporError | None
    ) -> None:
        if self._spans is not None:
            self._spans.gave_up(request, waited, error)
        outcome = "cancelled" if error is None else "refused"
        self._holds.record(waited, {"wake_kind": "", "outcome": outcome})
        code = {"code": error.code} if error is not None else {}
        self._tell(outcome, request, route, waited=round(waited, 3), **code)

    def refused(self, error: TorporError, route: Route | None, peer: str) -> None:
        self._refusals.refused(error, peer, **_names(route))

    def worker_lost(self, route: Route, error: TorporError, streams: int) -> None:
        self._lost.add(1, {"code": error.code})
        self._log.warning(
            "worker lost",
            {"code": error.code, "cause": error.message, "streams": streams, **_names(route)},
        )

    def _tell(self, what: str, request: Waiting, route: Route, **fields: object) -> None:
        if not log.isEnabledFor(logging.DEBUG):
            return
        trace = trace_id(request.fields)
        of = {"trace_id": trace} if trace else {}
        log.debug(what, extra={**_names(route), **of, **fields})


def _names(route: Route | None) -> dict[str, str]:
    if route is None:
        return {}
    return {
        "org": route.org,
        "satellite": f"{route.org}/{route.satellite}",
        "caller": route.caller,
    }
