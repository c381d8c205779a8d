"""Calls that need no credentials, health and reflection: a few at a time, for some minutes.

They take no place of customers' calls, and one host cannot take all of theirs.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import grpc
from grpc_health.v1 import health

from torpor_router.control import reflection
from torpor_router.control.adapter import parsed
from torpor_router.control.errors import TooManyUnauthenticated, UnauthenticatedTooLong
from torpor_router.control.open_calls import OpenCalls
from torpor_router.control.refusals import Context, Refusals, peer_of
from torpor_router.errors import Draining
from torpor_router.shares import Shares

AT_A_TIME = 100  # open calls of each service, which clients' hosts share
LIFE = 300.0  # seconds that such a call may stay open

_Work = Coroutine[Any, Any, None]
_Handler = Any  # grpc.RpcMethodHandler, whose types are those of servers with threads


class Unauthenticated(grpc.aio.ServerInterceptor):
    """Wraps the handlers of both services; theirs are those that gRPC parses messages for.

    When `closing` is set, open calls end: their clients call again, and reach another router.
    """

    def __init__(
        self,
        refusals: Refusals,
        closing: asyncio.Event,
        *,
        most: int = AT_A_TIME,
        life: float = LIFE,
    ) -> None:
        self._refusals = refusals
        self._closing = closing
        self._life = life
        self._places = {
            health.SERVICE_NAME: Shares(most),
            **dict.fromkeys(reflection.SERVICES, Shares(most)),
        }
        self.open = OpenCalls()

    def __repr__(self) -> str:
        return f"<Unauthenticated {len(self.open)} calls under way>"

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        details: grpc.HandlerCallDetails,
    ) -> _Handler:
        handler = await continuation(details)
        if handler is None or handler.request_deserializer is None:
            return handler
        service = details.method.split("/")[1]
        serialize = handler.response_serializer
        if handler.request_streaming:
            wrapped = self._streaming(handler, self._places[service])
            return grpc.stream_stream_rpc_method_handler(wrapped, None, serialize)
        if handler.response_streaming:
            wrapped = self._watching(handler, self._places[service])
            return grpc.unary_stream_rpc_method_handler(wrapped, None, serialize)
        return grpc.unary_unary_rpc_method_handler(self._asking(handler), None, serialize)

    def _asking(self, handler: _Handler) -> Any:
        async def answer(octets: bytes, context: Context) -> Any:
            async with self._refusing(context):
                return await handler.unary_unary(_read(handler, octets), context)

        return answer

    def _watching(self, handler: _Handler, places: Shares) -> Any:
        async def answer(octets: bytes, context: Context) -> None:
            async with self._refusing(context):
                request = _read(handler, octets)
                await self._serve(lambda: handler.unary_stream(request, context), context, places)

        return answer

    def _streaming(self, handler: _Handler, places: Shares) -> Any:
        async def requests(octets: AsyncIterator[bytes]) -> AsyncIterator[Any]:
            async for each in octets:
                yield _read(handler, each)

        async def replies(octets: AsyncIterator[bytes], context: Context) -> None:
            async for message in handler.stream_stream(requests(octets), context):
                await context.write(message)

        async def answer(octets: AsyncIterator[bytes], context: Context) -> None:
            async with self._refusing(context):
                await self._serve(lambda: replies(octets, context), context, places)

        return answer

    @asynccontextmanager
    async def _refusing(self, context: Context) -> AsyncIterator[None]:
        with self.open:
            try:
                yield
            except Exception as error:  # noqa: BLE001 - told to the caller by its code
                await self._refusals.abort(context, error)

    async def _serve(self, work: Callable[[], _Work], context: Context, places: Shares) -> None:
        with places.place(peer_of(context).host, TooManyUnauthenticated):
            # Not with the first message: where that is cancelled under way, gRPC would send them
            # again with the status, which fails, and the client would hear of no end
            await context.send_initial_metadata(())
            serving = asyncio.create_task(work())
            closing = asyncio.create_task(self._closing.wait())
            both = (serving, closing)
            try:
                await asyncio.wait(both, timeout=self._life, return_when=asyncio.FIRST_COMPLETED)
                if serving.done():
                    return await serving
                if closing.done():
                    raise Draining
                raise UnauthenticatedTooLong(f"after {self._life:g} s")
            finally:
                for task in both:
                    task.cancel()
                await asyncio.gather(*both, return_exceptions=True)


def _read(handler: _Handler, octets: bytes) -> Any:
    return parsed(octets, handler.request_deserializer)
