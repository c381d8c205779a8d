"""Where gRPC ends: who is calling, and how a failure is told.

The methods are taken from the .proto itself, so that one that is declared and not built shows at
start, not at its first call.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Any, NoReturn

import grpc
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from torpor_provisioner.errors import TorporError
from torpor_router.control.calls import Calls
from torpor_router.control.errors import ControlFailed
from torpor_router.control.needs import Caller, Callers
from torpor_router.control.v1 import torpor_pb2 as pb
from torpor_router.errors import Draining, NoCredentials
from torpor_router.names import LONGEST_TOKEN

logger = logging.getLogger(__name__)

SERVICE = pb.DESCRIPTOR.services_by_name["Satellites"]
CODE_KEY = "x-torpor-code"  # as the door tells it
LONGEST_DETAIL = 1_000  # characters; a message travels in trailers, which clients bound

_Context = grpc.aio.ServicerContext[Any, Any]
_STATUSES = {status.value[0]: status for status in grpc.StatusCode}


class Edge:
    """The calls as gRPC handlers. `open` counts those under way; `closing` refuses new ones."""

    def __init__(self, calls: Calls, callers: Callers, closing: asyncio.Event) -> None:
        self._calls = calls
        self._callers = callers
        self._closing = closing
        self._quiet = asyncio.Event()
        self._quiet.set()
        self.open = 0

    def __repr__(self) -> str:
        return f"<Edge {self.open} calls under way>"

    async def quiet(self) -> None:
        """Wait until no call is under way."""
        await self._quiet.wait()

    def handlers(self) -> grpc.GenericRpcHandler:
        """What to give to a server.

        Raises:
            AttributeError: the .proto has a method that `Calls` has not.
        """
        made: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        for method in SERVICE.methods:
            call = getattr(self._calls, method.name.lower())
            make, handler = (
                (grpc.unary_stream_rpc_method_handler, self._streaming(call))
                if method.server_streaming
                else (grpc.unary_unary_rpc_method_handler, self._unary(call))
            )
            made[method.name] = make(
                handler,
                request_deserializer=GetMessageClass(method.input_type).FromString,
                response_serializer=GetMessageClass(method.output_type).SerializeToString,
            )
        return grpc.method_handlers_generic_handler(SERVICE.full_name, made)

    def _unary(self, call: Callable[[Caller, Any], Awaitable[Message]]) -> Any:
        async def handler(request: Message, context: _Context) -> Message:
            with self._counted():
                try:
                    return await call(await self._caller(context), request)
                except Exception as error:  # noqa: BLE001 - told to the caller by its code
                    await refuse(context, error)

        return handler

    def _streaming(self, call: Callable[[Caller, Any], AsyncGenerator[Message, None]]) -> Any:
        # A coroutine that writes, not a generator: grpc.aio leaves a cancelled call's generator to
        # the garbage collector, and its place among the watchers with it.
        async def handler(request: Message, context: _Context) -> None:
            with self._counted():
                try:
                    caller = await self._caller(context)
                    async with aclosing(call(caller, request)) as messages:
                        async for message in messages:
                            await context.write(message)
                except Exception as error:  # noqa: BLE001 - told to the caller by its code
                    await refuse(context, error)

        return handler

    async def _caller(self, context: _Context) -> Caller:
        if self._closing.is_set():
            raise Draining
        return await self._callers.caller(token_of(context.invocation_metadata() or ()))

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self.open += 1
        self._quiet.clear()
        try:
            yield
        finally:
            self.open -= 1
            if not self.open:
                self._quiet.set()


def token_of(metadata: Any) -> str:
    """The token that a call carries, as at the door: `satellite_token` before `authorization`,
    and the first where there are several.

    Raises:
        NoCredentials: there is none.
    """
    fields = dict(reversed(tuple(metadata)))
    token = fields.get("satellite_token")
    if token is None:
        found = re.fullmatch(r"(?i:bearer) +(\S+) *", fields.get("authorization", ""))
        token = found[1] if found else ""
    if not token or len(token) > LONGEST_TOKEN:
        raise NoCredentials
    return str(token)


def message_of(error: TorporError) -> str:
    """What a client is told: ``str(error)``, with a detail of bounded length."""
    told = str(error)
    if len(error.detail) > LONGEST_DETAIL:
        told = told.replace(error.detail, error.detail[:LONGEST_DETAIL] + "...")
    return told


async def refuse(context: _Context, error: Exception) -> NoReturn:
    """End a call with what `error` is told as; one that nobody expected is logged instead."""
    if context.cancelled():  # there is nobody left to be told
        raise error
    if not isinstance(error, TorporError):
        logger.error("a call of the control API failed", exc_info=error)
        error = ControlFailed()
    await context.abort(
        _STATUSES[int(error.status)],
        message_of(error),
        trailing_metadata=((CODE_KEY, error.code),),
    )
