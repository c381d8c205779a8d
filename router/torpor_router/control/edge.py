"""Where gRPC ends: who is calling, what they ask, and that nobody takes another's place.

The methods are taken from the .proto itself, so that one that is declared and not built shows at
start, not at its first call. Handlers are given octets, and read no message before the caller's
token is known: what strangers send is neither kept nor parsed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import grpc
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from torpor_router.control.calls import Calls
from torpor_router.control.credentials import token_of
from torpor_router.control.errors import MessageTooLarge, TooManyCalls, UnreadableMessage
from torpor_router.control.needs import Caller, Callers
from torpor_router.control.open_calls import OpenCalls
from torpor_router.control.refusals import Context, Refusals, peer_of
from torpor_router.control.v1 import torpor_pb2 as pb
from torpor_router.errors import Draining
from torpor_router.shares import Shares

SERVICE = pb.DESCRIPTOR.services_by_name["Satellites"]
CALLS = 10_000  # under way at a time, which orgs share
LOOKUPS = 10_000  # calls whose token is being looked up, which clients' hosts share
LONGEST_MESSAGE = 64 * 1024  # octets; settings are the largest thing sent to us

_Serve = Callable[[Caller, Any], Any]


class Edge:
    """The calls as gRPC handlers. `closing` refuses new ones."""

    def __init__(
        self,
        calls: Calls,
        callers: Callers,
        refusals: Refusals,
        closing: asyncio.Event,
        *,
        most: int = CALLS,
    ) -> None:
        self._calls = calls
        self._callers = callers
        self._refusals = refusals
        self._closing = closing
        self._orgs = Shares(most)
        self._hosts = Shares(LOOKUPS)
        self.open = OpenCalls()

    def __repr__(self) -> str:
        return f"<Edge {len(self.open)} calls under way>"

    def handlers(self) -> grpc.GenericRpcHandler:
        """What to give to a server.

        Raises:
            AttributeError: the .proto has a method that `Calls` has not.
        """
        made: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        for method in SERVICE.methods:
            call = getattr(self._calls, method.name.lower())
            message = GetMessageClass(method.input_type)
            # "stream" towards gRPC, though one message comes: it would read that before it calls us
            make, serve = (
                (grpc.stream_stream_rpc_method_handler, _every(call, message))
                if method.server_streaming
                else (grpc.stream_unary_rpc_method_handler, _one(call, message))
            )
            made[method.name] = make(self._handler(serve))
        return grpc.method_handlers_generic_handler(SERVICE.full_name, made)

    def _handler(self, serve: Callable[[Caller, Context], Awaitable[bytes | None]]) -> Any:
        # A coroutine that writes, not a generator: grpc.aio leaves a cancelled call's generator to
        # the garbage collector, and its place among the watchers with it.
        async def handler(_: object, context: Context) -> bytes | None:
            caller = None
            with self.open:
                try:
                    caller = await self._caller(context)
                    with self._orgs.place(caller.org, TooManyCalls):
                        return await serve(caller, context)
                except Exception as error:  # noqa: BLE001 - told to the caller by its code
                    await self._refusals.tell(context, error, caller)

        return handler

    async def _caller(self, context: Context) -> Caller:
        if self._closing.is_set():
            raise Draining
        token, peer = token_of(context.invocation_metadata() or ()), peer_of(context)
        with self._hosts.place(peer.host, TooManyCalls):
            return await self._callers.caller(token, peer)


def _one(call: _Serve, message: type[Message]) -> Callable[[Caller, Context], Awaitable[bytes]]:
    async def serve(caller: Caller, context: Context) -> bytes:
        reply: Message = await call(caller, await _request(context, message))
        return reply.SerializeToString()

    return serve


def _every(call: _Serve, message: type[Message]) -> Callable[[Caller, Context], Awaitable[None]]:
    async def serve(caller: Caller, context: Context) -> None:
        replies: AsyncGenerator[Message, None] = call(caller, await _request(context, message))
        async with aclosing(replies):
            async for reply in replies:
                await context.write(reply.SerializeToString())

    return serve


async def _request(context: Context, message: type[Message]) -> Message:
    octets = await context.read()
    if not isinstance(octets, bytes):
        raise UnreadableMessage("there is none")
    if len(octets) > LONGEST_MESSAGE:
        raise MessageTooLarge(f"{len(octets)} octets: {LONGEST_MESSAGE} at most")
    return parsed(octets, message.FromString)


def parsed(octets: bytes, parse: Callable[[bytes], Message]) -> Message:
    """
    Raises:
        UnreadableMessage: they are no such message.
    """
    try:
        return parse(octets)
    except DecodeError as error:
        raise UnreadableMessage("it is not as the .proto describes it") from error
