"""An OTLP receiver: a real gRPC server of OpenTelemetry's own service, which keeps what it gets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as pb_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from waiting import until


def attributes(of: Any) -> dict[str, Any]:
    """Of a span or a resource."""
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in of.attributes}


@dataclass
class Receiver(pb_grpc.TraceServiceServicer):
    url: str = ""
    spans: list[Span] = field(default_factory=list)
    answers: asyncio.Event = field(default_factory=asyncio.Event)  # unset: it never does
    resources: list[dict[str, Any]] = field(default_factory=list)

    async def Export(  # noqa: N802 - the RPC's name
        self, request: pb.ExportTraceServiceRequest, _: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.ExportTraceServiceResponse:
        await self.answers.wait()
        for group in request.resource_spans:
            self.resources.append(attributes(group.resource))
            for scope in group.scope_spans:
                self.spans += scope.spans
        return pb.ExportTraceServiceResponse()

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]

    def children(self, span: Span) -> dict[str, list[Span]]:
        """By their names."""
        found: dict[str, list[Span]] = {}
        for each in self.spans:
            if each.parent_span_id == span.span_id:
                found.setdefault(each.name, []).append(each)
        return found

    async def gets(self, name: str, count: int) -> list[Span]:
        """Wait for so many spans of that name."""
        await until(lambda: len(self.named(name)) >= count, f"{count} spans {name!r}")
        return self.named(name)


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    receiver.answers.set()
    server = grpc.aio.server()
    pb_grpc.add_TraceServiceServicer_to_server(receiver, server)  # type: ignore[no-untyped-call]
    receiver.url = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    yield receiver
    await server.stop(None)
