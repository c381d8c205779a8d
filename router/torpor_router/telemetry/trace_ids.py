"""Of which trace a request says that it is part, for log lines: without OpenTelemetry's SDK."""

from __future__ import annotations

from collections.abc import Sequence

from torpor_router.h2.fields import Field

_PARENT = b"traceparent"


def trace_id(fields: Sequence[Field]) -> str:
    """The id of the trace that the request says it is part of; empty if it says none.

    Of well-formed ones alone, so that it may stand in a log line.
    """
    parent = [value for name, value, *_ in fields if name == _PARENT]
    parts = parent[0].split(b"-") if len(parent) == 1 else []
    if len(parts) < 4 or len(parts[1]) != 32 or parts[1].strip(b"0123456789abcdef"):
        return ""
    return parts[1].decode("ascii")
