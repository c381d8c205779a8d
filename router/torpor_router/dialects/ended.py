"""What the node answers to the calls of a build that was ended before it needed its satellite."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc

from torpor_router.dialects.requests import ended_with


class Ended(grpc.GenericRpcHandler):
    """For a grpc.aio server. The door has seen that the build asked for nothing."""

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        messages = ended_with(details.method.encode())
        if messages is None:
            return None

        async def end(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:  # noqa: ARG001 - gRPC's signature
            async for _ in requests:
                pass  # nobody asked for it
            for message in messages:
                yield message

        return grpc.stream_stream_rpc_method_handler(end)
