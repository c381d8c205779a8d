"""A worker and a client for very much data: neither keeps it, so the door's memory shows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeAlias

import grpc
from doorkit.fakes import NOWHERE
from doorkit.serving import serving

Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"
Handler: TypeAlias = "grpc.RpcMethodHandler[bytes, bytes]"

CHUNK = bytes(64 * 1024)


@asynccontextmanager
async def pumping(pace: float) -> AsyncIterator[Pump]:
    made = Pump(pace)
    async with serving(made) as made.address:
        yield made


class Pump(grpc.GenericRpcHandler):
    """`Down` sends as many chunks as asked for; `Up` counts what it gets, at `pace` a second."""

    def __init__(self, pace: float) -> None:
        self._pace = pace
        self.address = NOWHERE
        self.sent = 0
        self.taken = 0

    def service(self, details: grpc.HandlerCallDetails) -> Handler | None:
        if details.method.endswith("/Down"):
            return grpc.unary_stream_rpc_method_handler(self._down)
        return grpc.stream_unary_rpc_method_handler(self._up)

    async def _down(self, request: bytes, context: Context) -> AsyncIterator[bytes]:
        for _ in range(int(request)):
            yield CHUNK
            self.sent += len(CHUNK)

    async def _up(self, requests: AsyncIterator[bytes], context: Context) -> bytes:
        loop = asyncio.get_running_loop()
        began = loop.time()
        async for each in requests:
            self.taken += len(each)
            await asyncio.sleep(self.taken / self._pace - (loop.time() - began))
        return b"%d" % self.taken
