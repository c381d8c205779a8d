"""A span for each wake and launch that this node carried out: claim, the cloud's calls, boot,
probe. It links the requests that wait for it here; those that wait on other nodes link it."""

from __future__ import annotations

import time

from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, Status, StatusCode, Tracer
from opentelemetry.trace import set_span_in_context as within

from torpor_provisioner.errors import TorporError
from torpor_router.telemetry.traces.contexts import Ids, of_wake
from torpor_router.telemetry.traces.holds import HoldSpans
from torpor_statemachine import clock
from torpor_statemachine.events import Worked
from torpor_statemachine.lifecycle.states import State

_NAMES = {State.WAKING: "wake", State.LAUNCHING: "launch"}
_OURS = ("claim", "boot", "probe")  # steps that are no calls of a cloud


class WakeSpans:
    def __init__(self, tracer: Tracer, ids: Ids, holds: HoldSpans) -> None:
        self._tracer = tracer
        self._ids = ids
        self._holds = holds

    def __repr__(self) -> str:
        return "<WakeSpans>"

    def worked(self, worked: Worked) -> None:
        name = _NAMES.get(worked.state)
        if name is None:
            return
        epoch_of_clock = time.time_ns() - round(clock.now() * 1e9)

        def at(moment: float) -> int:
            return epoch_of_clock + round(moment * 1e9)

        links = self._holds.links(worked.satellite.id)
        with self._ids.fixed(of_wake(worked.satellite.id, worked.epoch)):
            span = self._tracer.start_span(
                name,
                Context(),
                links=links,
                start_time=at(worked.began),
                attributes={
                    "torpor.satellite": worked.satellite.full_name,
                    "torpor.provisioner": worked.satellite.provisioner,
                    "torpor.epoch": worked.epoch,
                    "torpor.requests": len(links),
                    "torpor.steps_left_out": worked.missed,
                },
            )
        context = within(span)
        for step in worked.steps:
            ours = step.name in _OURS
            child = self._tracer.start_span(
                step.name if ours else f"cloud: {step.name}",
                context,
                SpanKind.INTERNAL if ours else SpanKind.CLIENT,
                start_time=at(step.began),
            )
            if step.error is not None:
                child.set_attribute("torpor.code", step.error.code)
                child.set_status(_failed(step.error))
            child.end(at(step.ended))
        last = worked.last
        span.set_attribute("torpor.event", last.event if last is not None else "left")
        if last is not None and last.node_id is not None:
            span.set_attribute("torpor.node", str(last.node_id))
        if last is not None and last.wake_kind is not None:
            span.set_attribute("torpor.wake_kind", last.wake_kind.value)
        elif last is None or worked.satellite.state is not State.RUNNING:
            span.set_status(Status(StatusCode.ERROR, last.detail if last is not None else ""))
        span.end(at(worked.ended))


def _failed(error: TorporError) -> Status:
    return Status(StatusCode.ERROR, str(error))
