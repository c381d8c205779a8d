"""gRPC's two Python clients, with one face: each case is written once and run on both.

They are two implementations of the client's side above one core: `grpc.aio` polls from the event
loop, the synchronous one from threads of its own.
"""

from __future__ import annotations

import asyncio
import queue
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar

import grpc
from doorkit.testing import test_service_pb2_grpc as rpc

Metadata = Sequence[tuple[str, str | bytes]]
PATIENCE = 60.0  # seconds after which a call counts as hung


@dataclass
class Outcome:
    """How a call ended. `responses` are those that came before."""

    code: grpc.StatusCode
    details: str
    initial: dict[str, str | bytes]
    trailing: dict[str, str | bytes]
    responses: list[Any]


class Talk:
    """A call of both streams, one step at a time."""

    @abstractmethod
    async def send(self, request: Any) -> None: ...

    @abstractmethod
    async def receive(self) -> Any:
        """The next response; None when there are no more."""

    @abstractmethod
    async def half_close(self) -> None: ...

    @abstractmethod
    def cancel(self) -> None: ...

    @abstractmethod
    async def outcome(self) -> Outcome: ...


class Caller:
    """`metadata` goes with every call."""

    name: ClassVar[str]

    def __init__(self, metadata: Metadata) -> None:
        self.metadata = tuple(metadata)

    @abstractmethod
    async def unary(self, method: str, request: Any, metadata: Metadata = ()) -> Outcome: ...

    @abstractmethod
    async def download(self, method: str, request: Any) -> Outcome: ...

    @abstractmethod
    async def upload(self, method: str, requests: Sequence[Any]) -> Outcome: ...

    @abstractmethod
    async def cancel_upload(self, method: str) -> Outcome:
        """Begin, and cancel before anything is sent."""

    @abstractmethod
    async def talk(
        self, method: str, metadata: Metadata = (), within: float = PATIENCE
    ) -> Talk: ...

    @abstractmethod
    async def aclose(self) -> None: ...


class AioCaller(Caller):
    name = "grpc.aio"

    def __init__(self, target: str, metadata: Metadata) -> None:
        super().__init__(metadata)
        self._channel = grpc.aio.insecure_channel(target)

    def _method(self, method: str) -> Any:
        return _method(self._channel, method)

    async def unary(self, method: str, request: Any, metadata: Metadata = ()) -> Outcome:
        call = self._method(method)(request, metadata=(*self.metadata, *metadata), timeout=PATIENCE)
        return await self._finish(call, [])

    async def download(self, method: str, request: Any) -> Outcome:
        call = self._method(method)(request, metadata=self.metadata, timeout=PATIENCE)
        responses = [each async for each in call]
        return await _aio_outcome(call, responses)

    async def upload(self, method: str, requests: Sequence[Any]) -> Outcome:
        call = self._method(method)(iter(requests), metadata=self.metadata, timeout=PATIENCE)
        return await self._finish(call, [])

    async def cancel_upload(self, method: str) -> Outcome:
        call = self._method(method)(metadata=self.metadata, timeout=PATIENCE)
        call.cancel()
        return await _aio_outcome(call, [])

    @staticmethod
    async def _finish(call: Any, responses: list[Any]) -> Outcome:
        with suppress(grpc.aio.AioRpcError):  # the outcome tells
            responses.append(await call)
        return await _aio_outcome(call, responses)

    async def talk(self, method: str, metadata: Metadata = (), within: float = PATIENCE) -> Talk:
        return _AioTalk(self._method(method)(metadata=(*self.metadata, *metadata), timeout=within))

    async def aclose(self) -> None:
        await self._channel.close()


async def _aio_outcome(call: Any, responses: list[Any]) -> Outcome:
    code = await call.code()
    return Outcome(
        code,
        await call.details() or "",
        dict(await call.initial_metadata() or ()),
        dict(await call.trailing_metadata() or ()),
        responses,
    )


class _AioTalk(Talk):
    def __init__(self, call: Any) -> None:
        self._call = call
        self._responses: list[Any] = []

    async def send(self, request: Any) -> None:
        with suppress(grpc.aio.AioRpcError):  # the outcome tells
            await self._call.write(request)

    async def receive(self) -> Any:
        try:
            response = await self._call.read()
        except (grpc.aio.AioRpcError, asyncio.CancelledError):
            return None
        if response is grpc.aio.EOF:
            return None
        self._responses.append(response)
        return response

    async def half_close(self) -> None:
        await self._call.done_writing()

    def cancel(self) -> None:
        self._call.cancel()

    async def outcome(self) -> Outcome:
        while await self.receive() is not None:
            pass
        return await _aio_outcome(self._call, self._responses)


class SyncCaller(Caller):
    name = "grpc"

    def __init__(self, target: str, metadata: Metadata) -> None:
        super().__init__(metadata)
        options = [("grpc.use_local_subchannel_pool", 1)]
        self._channel = grpc.insecure_channel(target, options=options)

    def _method(self, method: str) -> Any:
        return _method(self._channel, method)

    async def unary(self, method: str, request: Any, metadata: Metadata = ()) -> Outcome:
        future = self._method(method).future(
            request, metadata=(*self.metadata, *metadata), timeout=PATIENCE
        )
        return await asyncio.to_thread(self._finish, future)

    async def download(self, method: str, request: Any) -> Outcome:
        call = self._method(method)(request, metadata=self.metadata, timeout=PATIENCE)
        responses = await asyncio.to_thread(list, call)
        return await asyncio.to_thread(_sync_outcome, call, responses)

    async def upload(self, method: str, requests: Sequence[Any]) -> Outcome:
        future = self._method(method).future(
            iter(requests), metadata=self.metadata, timeout=PATIENCE
        )
        return await asyncio.to_thread(self._finish, future)

    async def cancel_upload(self, method: str) -> Outcome:
        outgoing = _Outgoing()
        future = self._method(method).future(outgoing, metadata=self.metadata, timeout=PATIENCE)
        future.cancel()
        outgoing.put(None)
        return await asyncio.to_thread(_sync_outcome, future, [])

    @staticmethod
    def _finish(future: Any) -> Outcome:
        failed = future.exception()
        return _sync_outcome(future, [] if failed else [future.result()])

    async def talk(self, method: str, metadata: Metadata = (), within: float = PATIENCE) -> Talk:
        outgoing = _Outgoing()
        call = self._method(method)(outgoing, metadata=(*self.metadata, *metadata), timeout=within)
        return _SyncTalk(call, outgoing)

    async def aclose(self) -> None:
        await asyncio.to_thread(self._channel.close)


def _sync_outcome(call: Any, responses: list[Any]) -> Outcome:
    code = call.code()
    return Outcome(
        code,
        call.details() or "",
        dict(call.initial_metadata() or ()),
        dict(call.trailing_metadata() or ()),
        responses,
    )


class _Outgoing(Iterator[Any]):
    """Requests as they are put; None ends them."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def put(self, request: Any) -> None:
        self._queue.put(request)

    def __next__(self) -> Any:
        request = self._queue.get()
        if request is None:
            raise StopIteration
        return request


class _SyncTalk(Talk):
    def __init__(self, call: Any, outgoing: _Outgoing) -> None:
        self._call = call
        self._outgoing = outgoing
        self._responses: list[Any] = []

    async def send(self, request: Any) -> None:
        self._outgoing.put(request)

    async def receive(self) -> Any:
        response = await asyncio.to_thread(self._next)
        if response is not None:
            self._responses.append(response)
        return response

    def _next(self) -> Any:
        try:
            return next(self._call, None)
        except grpc.RpcError:
            return None

    async def half_close(self) -> None:
        self._outgoing.put(None)

    def cancel(self) -> None:
        self._call.cancel()

    async def outcome(self) -> Outcome:
        while await self.receive() is not None:
            pass
        self._outgoing.put(None)  # lets the thread go that waits for more
        return await asyncio.to_thread(_sync_outcome, self._call, self._responses)


def _method(channel: Any, method: str) -> Any:
    """`TestService.UnaryCall` or `UnimplementedService.UnimplementedCall`, as a callable."""
    service, _, name = method.partition(".")
    stub = getattr(rpc, f"{service}Stub")(channel)
    return getattr(stub, name)


CALLERS: tuple[type[AioCaller] | type[SyncCaller], ...] = (AioCaller, SyncCaller)
