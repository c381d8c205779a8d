"""OpenTelemetry's collector services (OTLP over gRPC).

BuildKit's clients export the trace of a build when it ends, on the connection that they built
through and without a deadline, also after Ctrl-C and after a refusal.
"""

from __future__ import annotations

from torpor_router.dialects.purpose import Purpose

_COLLECTOR = b"/opentelemetry.proto.collector."

PURPOSES = {
    _COLLECTOR + b"trace.v1.TraceService/Export": Purpose.TELLS,
    _COLLECTOR + b"metrics.v1.MetricsService/Export": Purpose.TELLS,
    _COLLECTOR + b"logs.v1.LogsService/Export": Purpose.TELLS,
}
