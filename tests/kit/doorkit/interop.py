"""The server of gRPC's interop test descriptions, on grpc.aio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any, TypeAlias

import grpc
from doorkit.testing import test_service_pb2 as pb
from doorkit.testing import test_service_pb2_grpc as rpc

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"  # of messages of each type

ECHO_INITIAL = "x-grpc-test-echo-initial"
ECHO_TRAILING = "x-grpc-test-echo-trailing-bin"


class TestService(rpc.TestServiceServicer):
    """`UnimplementedCall` is left as generated: it answers UNIMPLEMENTED."""

    __test__ = False  # not a test case, whatever its name says to pytest

    def __init__(self) -> None:
        self.open = 0  # calls with a stream of requests that have not ended yet

    async def EmptyCall(self, request: pb.Empty, context: Context) -> pb.Empty:  # noqa: N802
        return pb.Empty()

    async def UnaryCall(  # noqa: N802
        self,
        request: pb.SimpleRequest,
        context: Context,
    ) -> pb.SimpleResponse:
        await _echo_metadata(context)
        await _echo_status(request, context)
        return pb.SimpleResponse(payload=payload(request.response_size))

    async def StreamingOutputCall(  # noqa: N802
        self,
        request: pb.StreamingOutputCallRequest,
        context: Context,
    ) -> AsyncIterator[pb.StreamingOutputCallResponse]:
        async for answer in _answers(request.response_parameters):
            yield answer

    async def StreamingInputCall(  # noqa: N802
        self,
        requests: AsyncIterator[pb.StreamingInputCallRequest],
        context: Context,
    ) -> pb.StreamingInputCallResponse:
        self.open += 1
        try:
            total = sum([len(each.payload.body) async for each in requests])
        finally:
            self.open -= 1
        return pb.StreamingInputCallResponse(aggregated_payload_size=total)

    async def FullDuplexCall(  # noqa: N802
        self,
        requests: AsyncIterator[pb.StreamingOutputCallRequest],
        context: Context,
    ) -> AsyncIterator[pb.StreamingOutputCallResponse]:
        self.open += 1
        try:
            await _echo_metadata(context)
            async for request in requests:
                await _echo_status(request, context)
                async for answer in _answers(request.response_parameters):
                    yield answer
        finally:
            self.open -= 1


def payload(size: int) -> pb.Payload:
    return pb.Payload(body=bytes(size))


async def _answers(
    parameters: Iterable[pb.ResponseParameters],
) -> AsyncIterator[pb.StreamingOutputCallResponse]:
    for each in parameters:
        await asyncio.sleep(each.interval_us / 1e6)
        yield pb.StreamingOutputCallResponse(payload=payload(each.size))


async def _echo_metadata(context: Context) -> None:
    sent = dict(context.invocation_metadata() or ())
    if ECHO_INITIAL in sent:
        await context.send_initial_metadata(((ECHO_INITIAL, sent[ECHO_INITIAL]),))
    if ECHO_TRAILING in sent:
        context.set_trailing_metadata(((ECHO_TRAILING, sent[ECHO_TRAILING]),))


async def _echo_status(
    request: pb.SimpleRequest | pb.StreamingOutputCallRequest,
    context: Context,
) -> None:
    status = request.response_status
    if status.code:
        code = next(each for each in grpc.StatusCode if each.value[0] == status.code)
        await context.abort(code, status.message)
