"""The obvious way to write the door in Python: a grpc.aio server that calls on a grpc.aio channel.

Every message is taken off the one connection and put on the other, undecoded (a generic handler).
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import uvloop
from clientkit.untyped import untyped
from doorbench.subject import LOOK, PATIENT, SATELLITE, TOKEN

_KNOWN = {hashlib.sha256(TOKEN.encode()).digest(): SATELLITE}
_UNLIMITED = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))


class Passthrough(grpc.GenericRpcHandler):
    def __init__(self, worker: grpc.aio.Channel, asleep: Path) -> None:
        self._worker = worker
        self._awake = asyncio.Event()
        self._asleep = asleep

    async def watch(self) -> None:
        while True:
            if self._asleep.exists():
                self._awake.clear()
            else:
                self._awake.set()
            await asyncio.sleep(LOOK)

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        method = details.method

        async def relay(
            requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext[bytes, bytes]
        ) -> AsyncIterator[bytes]:
            metadata: dict[str, Any] = dict(context.invocation_metadata() or ())
            token = metadata.pop("authorization", "").removeprefix("Bearer ")
            satellite = metadata.pop("satellite", None)
            if _KNOWN.get(hashlib.sha256(token.encode()).digest()) != satellite:
                await context.abort(grpc.StatusCode.UNAUTHENTICATED, "unknown token")
            if not self._awake.is_set():
                await self._awake.wait()
            call = untyped(self._worker).stream_stream(method)(
                requests, metadata=tuple(metadata.items())
            )
            async for answer in call:
                yield answer

        return grpc.stream_stream_rpc_method_handler(relay)


async def main(port: int, worker: int, asleep: Path) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{worker}", options=_UNLIMITED) as channel:
        handler = Passthrough(channel, asleep)
        server = grpc.aio.server(options=(*_UNLIMITED, *PATIENT))
        server.add_generic_rpc_handlers((handler,))
        server.add_insecure_port(f"127.0.0.1:{port}")
        await server.start()
        await handler.watch()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])))
