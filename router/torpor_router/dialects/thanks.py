"""What the node answers to calls that only tell, while their satellite is not awake.

Nobody keeps what they tell. Their senders wait for the answer, some of them on their way out.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc

from torpor_router.dialects import bazel
from torpor_router.dialects.purpose import Purpose
from torpor_router.dialects.requests import purpose_of


class Thanks(grpc.GenericRpcHandler):
    """For a grpc.aio server."""

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        match purpose_of(details.method.encode()):
            case Purpose.TELLS:
                return grpc.unary_unary_rpc_method_handler(_thank)
            case Purpose.REPORTS:
                return grpc.stream_stream_rpc_method_handler(_acknowledge)
            case _:
                return None


async def _thank(request: bytes, context: Any) -> bytes:  # noqa: ARG001 - gRPC's signature
    return b""


async def _acknowledge(
    events: AsyncIterator[bytes],
    context: Any,  # noqa: ARG001 - gRPC's signature
) -> AsyncIterator[bytes]:
    async for event in events:
        yield bazel.acknowledgement(event)
