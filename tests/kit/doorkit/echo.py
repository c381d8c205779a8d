"""A worker that answers every stream shape, and keeps what it saw."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TypeAlias

import grpc
from doorkit.fakes import NOWHERE

from torpor_provisioner.contract import Address

Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"
Handler: TypeAlias = "grpc.RpcMethodHandler[bytes, bytes]"

UNLIMITED = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_metadata_size", 1 << 20),
    ("grpc.absolute_max_metadata_size", 1 << 20),
]


@dataclass
class Seen:
    """What the worker was sent."""

    metadata: list[dict[str, str | bytes]] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    started: asyncio.Event = field(default_factory=asyncio.Event)
    time_remaining: list[float | None] = field(default_factory=list)
    address: Address = NOWHERE


class EchoService(grpc.GenericRpcHandler):
    """Every stream shape, on raw bytes."""

    def __init__(self, seen: Seen) -> None:
        self.seen = seen

    def service(self, details: grpc.HandlerCallDetails) -> Handler | None:
        self.seen.metadata.append(dict(details.invocation_metadata))
        self.seen.calls.append(details.method)
        name = details.method.rpartition("/")[2]
        return {
            "Unary": grpc.unary_unary_rpc_method_handler(self.unary),
            "Down": grpc.unary_stream_rpc_method_handler(self.down),
            "Up": grpc.stream_unary_rpc_method_handler(self.up),
            "Both": grpc.stream_stream_rpc_method_handler(self.both),
            "Fail": grpc.unary_unary_rpc_method_handler(self.fail),
            "Hang": grpc.unary_unary_rpc_method_handler(self.hang),
            "Meta": grpc.unary_unary_rpc_method_handler(self.meta),
        }.get(name)

    async def unary(self, request: bytes, context: Context) -> bytes:
        self.seen.time_remaining.append(context.time_remaining())
        return request

    async def down(self, request: bytes, context: Context) -> AsyncIterator[bytes]:
        for number in range(int(request)):
            yield b"%d" % number

    async def up(self, requests: AsyncIterator[bytes], context: Context) -> bytes:
        return b"".join([each async for each in requests])

    async def both(self, requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        async for each in requests:
            yield each[::-1]

    async def fail(self, request: bytes, context: Context) -> bytes:
        context.set_trailing_metadata((("why-bin", b"\x00\xff"), ("x-more", "1")))
        await context.abort(grpc.StatusCode.DATA_LOSS, "100% löst\n")

    async def hang(self, request: bytes, context: Context) -> bytes:
        self.seen.started.set()
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            self.seen.cancelled.set()
            raise
        return b""

    async def meta(self, request: bytes, context: Context) -> bytes:
        await context.send_initial_metadata(
            [(k, v) for k, v in context.invocation_metadata() or () if k.startswith("echo-")]
        )
        context.set_trailing_metadata((("echo-trailer-bin", b"\x01\x02\x03"),))
        return b""
