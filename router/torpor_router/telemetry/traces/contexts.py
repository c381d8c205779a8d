"""Whose child a span is, and how others refer to it (W3C Trace Context)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from uuid import UUID

from opentelemetry.context import Context
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import SpanContext, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from torpor_router.h2.blocks import encode
from torpor_router.h2.fields import Field

_PARENT = b"traceparent"
_STATE = b"tracestate"
_W3C = TraceContextTextMapPropagator()


class Ids(RandomIdGenerator):
    """Random ones, but within `fixed`."""

    def __init__(self) -> None:
        self._fixed: SpanContext | None = None

    @contextmanager
    def fixed(self, context: SpanContext) -> Iterator[None]:
        """A root span that is started within has these ids."""
        self._fixed = context
        try:
            yield
        finally:
            self._fixed = None

    def generate_trace_id(self) -> int:
        return self._fixed.trace_id if self._fixed is not None else super().generate_trace_id()

    def generate_span_id(self) -> int:
        return self._fixed.span_id if self._fixed is not None else super().generate_span_id()


def of_wake(satellite_id: UUID, epoch: int) -> SpanContext:
    """A wake's span, which any node can refer to: its ids are made of what all nodes know."""
    digest = sha256(satellite_id.bytes + epoch.to_bytes(8, "big")).digest()
    return SpanContext(
        trace_id=int.from_bytes(digest[:16], "big"),
        span_id=int.from_bytes(digest[16:24], "big"),
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
    )


def of_caller(fields: Sequence[Field]) -> Context:
    """What the request says of its caller's span; nothing, where that is malformed or not said."""
    carrier: dict[str, str] = {}
    for name, value, *_ in fields:
        if name in (_PARENT, _STATE):
            key = name.decode("ascii")
            text = value.decode("latin-1")
            if key in carrier and name == _PARENT:
                return Context()  # two parents are none
            carrier[key] = f"{carrier[key]},{text}" if key in carrier else text
    return _W3C.extract(carrier, Context())


def passed_on(fields: Sequence[Field], span: Context) -> list[Field]:
    """The request's fields with `span`'s context in place of its caller's."""
    carrier: dict[str, str] = {}
    _W3C.inject(carrier, span)
    others = [field for field in fields if field.name not in (_PARENT, _STATE)]
    for key, text in carrier.items():
        name, value = key.encode("ascii"), text.encode("latin-1")
        others.append(Field(name, value, encode(((name, value),))))
    return others
