"""A span for each request that waits for its satellite: decide, wait, release."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.trace import set_span_in_context as within

from torpor_provisioner.errors import TorporError
from torpor_router.h2.fields import Field
from torpor_router.relay.events import Waiting
from torpor_router.routing import Route
from torpor_router.telemetry.traces import contexts
from torpor_statemachine.lifecycle.states import WakeKind

MOST = 512  # requests that wait with a span at once; ten thousand may, and go in one moment


@dataclass(slots=True)
class _Waits:
    span: Span
    satellite_id: UUID
    began: int  # in ns since 1970, as all times here
    decided_at: int
    admitted_at: int | None = None


class HoldSpans:
    """Of one process. `left_out` is called for each request that gets none because too many wait.

    A request that waited for a satellite that was awake is left out too, unless `hot`.
    """

    def __init__(self, tracer: Tracer, *, hot: bool, left_out: Callable[[], None]) -> None:
        self._tracer = tracer
        self._hot = hot
        self._left_out = left_out
        self._waiting: dict[Waiting, _Waits] = {}

    def __repr__(self) -> str:
        return f"<HoldSpans of {len(self._waiting)} requests>"

    def links(self, satellite_id: UUID) -> list[Link]:
        """To the requests that wait for this satellite."""
        return [
            Link(waits.span.get_span_context())
            for waits in self._waiting.values()
            if waits.satellite_id == satellite_id
        ]

    def held(self, request: Waiting, route: Route, waited: float) -> None:
        if len(self._waiting) >= MOST:
            self._left_out()
            return
        now = time.time_ns()
        began = now - _ns(waited)
        path = next((each.value for each in request.fields if each.name == b":path"), b"")
        span = self._tracer.start_span(
            "held request",
            contexts.of_caller(request.fields),
            SpanKind.SERVER,
            {
                "rpc.system.name": "grpc",
                "rpc.method": path.decode("latin-1").removeprefix("/"),
                "torpor.satellite": f"{route.org}/{route.satellite}",
                "torpor.caller": route.caller,
            },
            start_time=began,
        )
        if span.is_recording():  # which the caller decides, where it sends its context
            self._waiting[request] = _Waits(span, route.satellite_id, began, now)

    def admitted(self, request: Waiting, epoch: int) -> None:
        waits = self._waiting.get(request)
        if waits is not None:
            waits.admitted_at = time.time_ns()
            waits.span.add_link(contexts.of_wake(waits.satellite_id, epoch))

    def for_worker(self, request: Waiting, kind: WakeKind) -> list[Field]:
        """The request's fields, with its span's context where it has a span."""
        waits = self._waiting.get(request)
        if waits is None or not self._wanted(kind):
            return list(request.fields)
        return contexts.passed_on(request.fields, within(waits.span))

    def released(self, request: Waiting, waited: float, kind: WakeKind) -> None:
        waits = self._waiting.pop(request, None)
        if waits is not None and self._wanted(kind):
            waits.span.set_attribute("torpor.wake_kind", kind.value)
            self._end(waits, waited, "released")

    def gave_up(self, request: Waiting, waited: float, error: TorporError | None) -> None:
        waits = self._waiting.pop(request, None)
        if waits is None:
            return
        if error is not None:
            waits.span.set_attribute("torpor.code", error.code)
            waits.span.set_status(Status(StatusCode.ERROR, str(error)))
        self._end(waits, waited, "cancelled" if error is None else "refused")

    def _wanted(self, kind: WakeKind) -> bool:
        return self._hot or kind is not WakeKind.HOT

    def _end(self, waits: _Waits, waited: float, outcome: str) -> None:
        now = max(waits.admitted_at or waits.decided_at, waits.began + _ns(waited))
        context = within(waits.span)

        def child(name: str, began: int, ended: int) -> None:
            self._tracer.start_span(name, context, start_time=began).end(ended)

        admitted_at = waits.admitted_at or now
        child("decide", waits.began, waits.decided_at)
        child("wait", waits.decided_at, admitted_at)
        if waits.admitted_at is not None:
            child("release", admitted_at, now)
        waits.span.set_attribute("torpor.outcome", outcome)
        waits.span.end(now)


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)
