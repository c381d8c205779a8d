"""Spans on their way to a collector: so many at most, and a count of those that never got there.

The sending is the SDK's, from a thread of its own. A collector that is slow, or away, costs spans
and nothing else.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

MOST = 4_096  # spans that wait to be sent
_BATCH = 512  # spans in one call
_PAUSE = 1_000  # ms in which fewer than that wait for more
_PATIENCE = 5.0  # seconds for one call, its repetitions included
_FAREWELL = 2.0  # seconds for the last ones when the process ends


class Outbox(SpanProcessor):
    """`sent`, `refused` (the collector did not take them in time) and `dropped` (too many waited)
    are counted; to be read from any thread.

    Raises:
        ValueError, RuntimeError: OpenTelemetry's own environment variables cannot be meant.
    """

    def __init__(self, url: str) -> None:
        logging.getLogger("opentelemetry.exporter").setLevel(logging.ERROR)  # a line a failed call
        self._exporter = _Counted(OTLPSpanExporter(url, timeout=_PATIENCE))
        self._batches = BatchSpanProcessor(
            self._exporter,
            max_queue_size=max(MOST, _BATCH),
            schedule_delay_millis=_PAUSE,
            max_export_batch_size=_BATCH,
        )
        self._taken = 0
        self.dropped = 0

    def __repr__(self) -> str:
        return f"<Outbox {self.sent} sent, {self.refused} refused, {self.dropped} dropped>"

    @property
    def sent(self) -> int:
        return self._exporter.sent

    @property
    def refused(self) -> int:
        return self._exporter.refused

    def drop(self) -> None:
        self.dropped += 1

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        pass

    def on_end(self, span: ReadableSpan) -> None:
        if self._taken - self._exporter.done >= MOST:
            self.drop()
            return
        self._taken += 1
        self._batches.on_end(span)

    def shutdown(self) -> None:
        self._batches.shutdown()  # type: ignore[no-untyped-call]

    async def aclose(self) -> None:
        """Send what is left, for a moment; then without."""
        sending = asyncio.create_task(asyncio.to_thread(self.shutdown))
        await asyncio.wait([sending], timeout=_FAREWELL)
        self._exporter.shutdown()  # ends a call that is under way
        await sending


class _Counted(SpanExporter):
    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._ended = False
        self.sent = self.refused = 0

    @property
    def done(self) -> int:
        return self.sent + self.refused

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = SpanExportResult.FAILURE
        try:
            if not self._ended:
                result = self._exporter.export(spans)
        finally:
            if result is SpanExportResult.SUCCESS:
                self.sent += len(spans)
            else:
                self.refused += len(spans)
        return result

    def shutdown(self) -> None:
        if not self._ended:
            self._ended = True
            self._exporter.shutdown()
