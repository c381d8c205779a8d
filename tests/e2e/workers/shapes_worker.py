"""A worker command: a real gRPC server that answers in every stream shape, on raw bytes.

python shapes_worker.py HOST PORT DATA
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
from google.protobuf import any_pb2, wrappers_pb2
from google.rpc import status_pb2  # type: ignore[import-untyped]

Context = grpc.aio.ServicerContext
OPTIONS = [
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
]


class Shapes(grpc.GenericRpcHandler):
    """What it notices of a call that hangs, it writes into `data`."""

    def __init__(self, data: Path) -> None:
        self._data = data

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        return {
            "/torpor.test.Shapes/Unary": grpc.unary_unary_rpc_method_handler(self.unary),
            "/torpor.test.Shapes/Down": grpc.unary_stream_rpc_method_handler(self.down),
            "/torpor.test.Shapes/Up": grpc.stream_unary_rpc_method_handler(self.up),
            "/torpor.test.Shapes/Both": grpc.stream_stream_rpc_method_handler(self.both),
            "/torpor.test.Shapes/Metadata": grpc.unary_unary_rpc_method_handler(self.metadata),
            "/torpor.test.Shapes/Fail": grpc.unary_unary_rpc_method_handler(self.fail),
            "/torpor.test.Shapes/Remaining": grpc.unary_unary_rpc_method_handler(self.remaining),
            "/torpor.test.Shapes/Hang": grpc.unary_unary_rpc_method_handler(self.hang),
        }.get(details.method)

    async def unary(self, request: bytes, _context: Context) -> bytes:
        return request

    async def down(self, request: bytes, _context: Context) -> AsyncIterator[bytes]:
        for number in range(int(request)):
            yield b"%d" % number

    async def up(self, requests: AsyncIterator[bytes], _context: Context) -> bytes:
        return b"|".join([each async for each in requests])

    async def both(self, requests: AsyncIterator[bytes], _context: Context) -> AsyncIterator[bytes]:
        async for each in requests:
            yield each[::-1]

    async def metadata(self, _request: bytes, context: Context) -> bytes:
        """Echo what begins with "echo-" in the headers and in the trailers, and the caller's trace
        in these; tell all the names."""
        given = context.invocation_metadata() or ()
        echoed = [(name, value) for name, value in given if name.startswith("echo-")]
        await context.send_initial_metadata(echoed)
        seen = [(f"seen-{name}", value) for name, value in given if name == "traceparent"]
        context.set_trailing_metadata(echoed + seen)
        return " ".join(sorted({name for name, _ in given})).encode()

    async def fail(self, _request: bytes, context: Context) -> bytes:
        detail = any_pb2.Any()
        detail.Pack(wrappers_pb2.StringValue(value="all of it"))
        status = status_pb2.Status(code=15, message="100% verloren: ö\n", details=[detail])
        context.set_trailing_metadata(
            (("grpc-status-details-bin", status.SerializeToString()), ("why-bin", b"\x00\xff"))
        )
        await context.abort(grpc.StatusCode.DATA_LOSS, status.message)
        return b""

    async def remaining(self, _request: bytes, context: Context) -> bytes:
        return repr(context.time_remaining()).encode()

    async def hang(self, request: bytes, _context: Context) -> bytes:
        name = request.decode()
        (self._data / f"{name}.started").touch()
        try:
            await asyncio.sleep(600)
        finally:
            (self._data / f"{name}.cancelled").touch()
        return b""


async def main(host: str, port: str, data: str) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    server = grpc.aio.server(options=OPTIONS)
    server.add_generic_rpc_handlers((Shapes(Path(data)),))
    server.add_insecure_port(f"{host}:{port}")
    await server.start()
    await stop.wait()
    await server.stop(None)


asyncio.run(main(*sys.argv[1:]))
