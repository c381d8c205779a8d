"""One node's traces, put together."""

from __future__ import annotations

from importlib.metadata import version

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased

from torpor_router.telemetry.traces.contexts import Ids
from torpor_router.telemetry.traces.holds import HoldSpans
from torpor_router.telemetry.traces.outbox import Outbox
from torpor_router.telemetry.traces.wakes import WakeSpans


class Tracing:
    """Spans go to the OTLP receiver at `url` ("http://HOST:4317", or https), over gRPC.

    Raises:
        ValueError, RuntimeError: OpenTelemetry's own environment variables cannot be meant.
    """

    def __init__(self, url: str, *, hot: bool = False) -> None:
        self.outbox = Outbox(url)
        ids = Ids()
        self._provider = TracerProvider(
            ParentBased(ALWAYS_ON),
            Resource.create({"service.name": "torpor", "service.version": version("torpor")}),
            shutdown_on_exit=False,
            id_generator=ids,
            span_limits=SpanLimits(max_attribute_length=256),
        )
        self._provider.add_span_processor(self.outbox)
        tracer = self._provider.get_tracer("torpor", version("torpor"))
        self.holds = HoldSpans(tracer, hot=hot, left_out=self.outbox.drop)
        self.wakes = WakeSpans(tracer, ids, self.holds)

    def __repr__(self) -> str:
        return f"<Tracing {self.outbox!r}>"

    async def aclose(self) -> None:
        await self.outbox.aclose()
