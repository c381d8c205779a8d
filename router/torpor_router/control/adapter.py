"""Where gRPC ends: who is calling, what they ask, and that nobody takes another's place.

The methods are taken from the .proto itself, so that one that is declared and not built shows at
start, not at its first call. Handlers are given octets, and read no message before the caller's
token is known: what strangers send is neither kept nor parsed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractContextManager, aclosing
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from torpor_provisioner.errors import TorporError
from torpor_router.access.audit import Act, State
from torpor_router.control.auditing import Auditing
from torpor_router.control.credentials import token_of
from torpor_router.control.detached import DetachedTasks
from torpor_router.control.errors import MessageTooLarge, TooManyCalls, UnreadableMessage
from torpor_router.control.open_calls import OpenCalls
from torpor_router.control.ports import Audit, Caller, Callers
from torpor_router.control.refusals import Context, Refusals, peer_of
from torpor_router.control.rights import NEEDS, Anyone, Need
from torpor_router.control.v1 import (
    access_pb2,
    operators_pb2,
    torpor_pb2,
    usage_pb2,
    webhooks_pb2,
)
from torpor_router.errors import Draining
from torpor_router.shares import Shares

SATELLITES = torpor_pb2.DESCRIPTOR.services_by_name["Satellites"]
ACCESS = access_pb2.DESCRIPTOR.services_by_name["Access"]
USAGE = usage_pb2.DESCRIPTOR.services_by_name["Usage"]
WEBHOOKS = webhooks_pb2.DESCRIPTOR.services_by_name["Webhooks"]
OPERATORS = operators_pb2.DESCRIPTOR.services_by_name["Operators"]
ORG = "satellite_org"  # metadata: which org an operator's call is about
CALLS = 10_000  # under way at a time, which orgs share
LOOKUPS = 10_000  # calls whose token is being looked up, which clients' hosts share
LONGEST_MESSAGE = 64 * 1024  # octets; settings are the largest thing sent to us


class Service(Protocol):
    """The calls of a service, named as in its .proto, in lower case, and what they change."""

    async def snapshot(self, caller: Caller, request: Any) -> State | None: ...


class GrpcAdapter:
    """The calls as gRPC handlers. `closing` refuses new ones."""

    def __init__(
        self,
        callers: Callers,
        refusals: Refusals,
        audit: Audit,
        closing: asyncio.Event,
        *,
        most: int = CALLS,
    ) -> None:
        self._callers = callers
        self._refusals = refusals
        self._auditing = Auditing(audit)
        self._closing = closing
        self._orgs = Shares(most)
        self._hosts = Shares(LOOKUPS)
        self.detached = DetachedTasks()
        self.open = OpenCalls()

    def __repr__(self) -> str:
        return f"<GrpcAdapter {len(self.open)} calls under way>"

    def handlers(self, service: ServiceDescriptor, calls: Service) -> grpc.GenericRpcHandler:
        """What to give to a server.

        Raises:
            AttributeError, KeyError: the .proto has a method that `calls` or `NEEDS` has not.
        """
        made: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        for method in service.methods:
            # "stream" towards gRPC, though one message comes: it would read that before it calls us
            make, serve = (
                (grpc.stream_stream_rpc_method_handler, self._every)
                if method.server_streaming
                else (grpc.stream_unary_rpc_method_handler, self._one)
            )
            made[method.name] = make(self._handler(Method(method, calls), serve))
        return grpc.method_handlers_generic_handler(service.full_name, made)

    def _handler(
        self, method: Method, serve: Callable[[Method, _Call], Awaitable[bytes | None]]
    ) -> Any:
        # A coroutine that writes, not a generator: grpc.aio leaves a cancelled call's generator to
        # the garbage collector, and its place among the watchers with it.
        async def handler(_: object, context: Context) -> bytes | None:
            call = None
            with self.open:
                try:
                    call = _Call(context, await self._caller(context, method.need), method)
                    with self._place(call):
                        await call.read(method.message)
                        method.need.check(call.caller)
                        return await serve(method, call)
                except Exception as error:  # noqa: BLE001 - told to the caller by its code
                    if call is not None and isinstance(error, TorporError):
                        self._auditing.refused(call.act, error)
                    caller = call.caller if call is not None else None
                    await self._refusals.abort(context, error, caller)

        return handler

    def _place(self, call: _Call) -> AbstractContextManager[None]:
        caller = call.caller
        if isinstance(caller, Anyone):
            return self._hosts.place(peer_of(call.context).host, TooManyCalls)
        return self._orgs.place(caller.org or caller.name, TooManyCalls)

    async def _caller(self, context: Context, need: Need) -> Caller:
        if self._closing.is_set():
            raise Draining
        metadata, peer = context.invocation_metadata() or (), peer_of(context)
        if not need.credentials:
            return Anyone(peer.address)
        token, org = token_of(metadata), str(dict(metadata).get(ORG, ""))
        with self._hosts.place(peer.host, TooManyCalls):
            return await self._callers.caller(token, peer, org)

    async def _one(self, method: Method, call: _Call) -> bytes:
        work = partial(method.call, call.caller, call.request)
        if method.need.changes:
            work = partial(self._detached, call, work)
        reply: Message = await work()
        return reply.SerializeToString()

    async def _detached(self, call: _Call, work: Callable[[], Awaitable[Message]]) -> Message:
        return await self.detached.run(self._auditing.one(call.act, call.snapshot, work))

    async def _every(self, method: Method, call: _Call) -> None:
        replies: AsyncGenerator[Message, None] = method.call(call.caller, call.request)
        if method.need.changes:
            replies = self._auditing.every(call.act, call.snapshot, replies)
        async with aclosing(replies):
            async for reply in replies:
                await call.context.write(reply.SerializeToString())


class Method:
    """One method of the .proto: what serves it, what it is sent, what it needs."""

    def __init__(self, method: MethodDescriptor, calls: Service) -> None:
        self.name = f"{method.containing_service.name}.{method.name}"
        self.call: Callable[[Caller, Any], Any] = getattr(calls, method.name.lower())
        self.message = GetMessageClass(method.input_type)
        self.need = NEEDS[self.name]
        self.snapshot = calls.snapshot


class _Call:
    """One call under way: who makes it, and what they ask."""

    def __init__(self, context: Context, caller: Caller, method: Method) -> None:
        self.context = context
        self.caller = caller
        self.request: Any = None
        self.act = Act(caller.org, caller.name, method.name, address=peer_of(context).address)
        self._snapshot = method.snapshot

    async def read(self, message: type[Message]) -> None:
        octets = await self.context.read()
        if not isinstance(octets, bytes):
            raise UnreadableMessage("there is none")
        if len(octets) > LONGEST_MESSAGE:
            raise MessageTooLarge(f"{len(octets)} octets: {LONGEST_MESSAGE} at most")
        self.request = parsed(octets, message.FromString)
        self.act = about(self.act, self.request)

    async def snapshot(self) -> State | None:
        return await self._snapshot(self.caller, self.request)


def about(act: Act, request: Any) -> Act:
    """The act, with what the request names. An operator's call names its org there."""
    target = _named(request, "name", "id", "ref")
    return replace(act, org=act.org or _named(request, "org"), target=target)


def _named(request: Any, *fields: str) -> str:
    return next((value for field in fields if (value := getattr(request, field, ""))), "")


def parsed(octets: bytes, parse: Callable[[bytes], Message]) -> Message:
    """
    Raises:
        UnreadableMessage: they are no such message.
    """
    try:
        return parse(octets)
    except DecodeError as error:
        raise UnreadableMessage("it is not as the .proto describes it") from error
