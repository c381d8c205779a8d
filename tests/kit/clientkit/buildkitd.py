"""A worker that speaks BuildKit's calls as buildkitd does, on raw octets where nobody reads them.

A build is what its metadata says (`buildkit-controlapi-buildid`; real clients mark the LLBBridge
calls alone, and others by their messages, which nobody reads here). It goes on while its Solve is
open: its session answers pings, its LLBBridge calls find it, and its Return ends it.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import grpc

from torpor_provisioner.contract import Address
from torpor_router.dialects.messages.buildkit_status_pb2 import StatusResponse, Vertex

BUILD_ID = "buildkit-controlapi-buildid"
CONTROL = "/moby.buildkit.v1.Control/"
BRIDGE = "/moby.buildkit.v1.frontend.LLBBridge/"
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
PING = b"p" * 3_281  # octets, as of buildkitd 0.32
STEPS = 3
Context = grpc.aio.ServicerContext[Any, Any]


@dataclass
class Build:
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    session: asyncio.Event = field(default_factory=asyncio.Event)
    returned: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass
class Buildkitd(grpc.GenericRpcHandler):
    """`calls` has (method, build) in the order in which they came; `traces` what was exported."""

    calls: list[tuple[str, str]] = field(default_factory=list)
    builds: dict[str, Build] = field(default_factory=lambda: defaultdict(Build))
    traces: list[bytes] = field(default_factory=list)
    cancelled: int = 0
    address: Address = field(default_factory=lambda: Address("127.0.0.1", 1))  # once served

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        build = str(dict(details.invocation_metadata).get(BUILD_ID, ""))
        service, _, method = details.method.rpartition("/")
        if service.endswith(("Control", "LLBBridge", "TraceService")):
            self.calls.append((method if service + "/" != BRIDGE else f"LLB{method}", build))
        unary, down = grpc.unary_unary_rpc_method_handler, grpc.unary_stream_rpc_method_handler
        return {
            f"{CONTROL}ListWorkers": unary(self.list_workers),
            f"{CONTROL}Info": unary(self.info),
            f"{CONTROL}Solve": unary(self.solve),
            f"{CONTROL}Status": down(self.status),
            f"{CONTROL}Session": grpc.stream_stream_rpc_method_handler(self.session),
            f"{CONTROL}ListenBuildHistory": down(self.history),
            f"{CONTROL}Reserve": unary(self.reserve),
            f"{BRIDGE}Ping": unary(self.ping),
            f"{BRIDGE}Solve": unary(self.llb_solve),
            f"{BRIDGE}Return": unary(self.llb_return),
            EXPORT: unary(self.export),
        }.get(details.method)

    def _build(self, context: Context) -> Build:
        return self.builds[str(dict(context.invocation_metadata() or ())[BUILD_ID])]

    async def list_workers(self, request: bytes, context: Context) -> bytes:
        return b"\n\x06worker"

    async def info(self, request: bytes, context: Context) -> bytes:
        return b"\n\x07v0.32.2"

    async def reserve(self, request: bytes, context: Context) -> bytes:
        return b""

    async def solve(self, request: bytes, context: Context) -> bytes:
        build = self._build(context)
        build.begun.set()
        try:
            await build.returned.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return b"solved"

    async def status(self, request: bytes, context: Context) -> AsyncIterator[bytes]:
        build = self._build(context)
        await build.begun.wait()
        for step in range(STEPS):
            yield StatusResponse(vertexes=[Vertex(name=f"step {step}")]).SerializeToString()
        await build.returned.wait()

    async def session(
        self, requests: AsyncIterator[bytes], context: Context
    ) -> AsyncIterator[bytes]:
        build = self._build(context)
        build.session.set()
        async for each in requests:
            yield each

    async def history(self, request: bytes, context: Context) -> AsyncIterator[bytes]:
        yield b"one build"

    async def ping(self, request: bytes, context: Context) -> bytes:
        return PING

    async def llb_solve(self, request: bytes, context: Context) -> bytes:
        build = self._build(context)
        await build.begun.wait()
        await build.session.wait()
        return b"a result"

    async def llb_return(self, request: bytes, context: Context) -> bytes:
        build = self._build(context)
        await build.begun.wait()
        build.returned.set()
        return b""

    async def export(self, request: bytes, context: Context) -> bytes:
        self.traces.append(request)
        return b""
