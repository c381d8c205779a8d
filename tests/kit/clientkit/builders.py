"""Clients that make the calls of buildctl, buildx, EarthBuild and Bazel, in the order captured."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
from clientkit.buildkitd import BRIDGE, BUILD_ID, CONTROL, EXPORT, PING

from torpor_router.dialects.messages import bazel_pb2
from torpor_router.dialects.messages.buildkit_status_pb2 import StatusResponse

Metadata = Sequence[tuple[str, str | bytes]]
REAPI = "/build.bazel.remote.execution.v2."
EVENTS = "/google.devtools.build.v1.PublishBuildEvent/"


@dataclass
class Shown:
    """What the user of one build has seen."""

    steps: list[str] = field(default_factory=list)
    solved: bytes = b""
    pongs: int = 0


class BuildkitClient:
    """One build's calls on a grpc.aio channel. `started`: those that build are under way."""

    def __init__(self, channel: Any, metadata: Metadata, build: str) -> None:
        self._channel = channel
        self._metadata = (*metadata, (BUILD_ID, build))
        self.started = asyncio.Event()

    async def unary(self, method: str, request: bytes = b"") -> bytes:
        call = self._channel.unary_unary(method)
        answer: bytes = await call(request, metadata=self._metadata, timeout=60)
        return answer

    async def export(self) -> bytes:
        """As at the end, and after Ctrl-C: without a deadline."""
        answer: bytes = await self._channel.unary_unary(EXPORT)(b"a trace", metadata=self._metadata)
        return answer

    async def buildctl(self) -> Shown:
        await self.unary(f"{CONTROL}ListWorkers")
        shown = await self._build(solves=True)
        await self.export()
        return shown

    async def buildx(self, probe: BuildkitClient) -> Shown:
        """`probe` is a build of its own, which solves nothing."""
        await self.unary(f"{CONTROL}ListWorkers")
        await self.unary(f"{CONTROL}Info")
        await self.unary(f"{CONTROL}ListWorkers")
        await probe._build(solves=False)
        await self.unary(f"{CONTROL}ListWorkers")
        shown = await self._build(solves=True)
        history = self._channel.unary_stream(f"{CONTROL}ListenBuildHistory")
        assert [each async for each in history(b"", metadata=self._metadata)]
        await self.export()
        return shown

    async def _build(self, *, solves: bool) -> Shown:
        shown = Shown()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._status(shown))
            session = group.create_task(self._session(shown))
            solve = group.create_task(self.unary(f"{CONTROL}Solve", b"x" * 2_000))
            await asyncio.sleep(0)
            self.started.set()
            assert await self.unary(f"{BRIDGE}Ping") == PING
            if solves:
                assert await self.unary(f"{BRIDGE}Solve", b"x" * 20_000) == b"a result"
            await self.unary(f"{BRIDGE}Return")
            shown.solved = await solve
            session.cancel()
        return shown

    async def _status(self, shown: Shown) -> None:
        call = self._channel.unary_stream(
            f"{CONTROL}Status", response_deserializer=StatusResponse.FromString
        )
        async for told in call(b"ref", metadata=self._metadata):
            shown.steps += [each.name for each in told.vertexes]

    async def _session(self, shown: Shown) -> None:
        call = self._channel.stream_stream(f"{CONTROL}Session")(metadata=self._metadata)
        while True:
            await call.write(b"ping")
            if await call.read() is grpc.aio.EOF:
                return
            shown.pongs += 1
            await asyncio.sleep(0.01)


async def earthbuild(channel: grpc.aio.Channel, names: Metadata, build: str) -> Shown:
    """With EarthBuild's own metadata: reserve, then look until it answers, then build."""
    client = BuildkitClient(channel, names, build)
    await client.unary(f"{CONTROL}Reserve")
    await client.unary(f"{CONTROL}ListWorkers")
    await client.unary(f"{CONTROL}Info")
    return await client.buildctl()


@dataclass
class Told:
    """What Bazel heard of its build."""

    capabilities: bytes = b""
    executed: list[bytes] = field(default_factory=list)
    acknowledged: list[int] = field(default_factory=list)


async def bazel(channel: Any, events: Any, metadata: Metadata, told: Told) -> None:
    """Remote execution on one connection, build events on another, as Bazel has them."""
    invocation = bazel_pb2.RequestMetadata(tool_invocation_id="an-id").SerializeToString()
    marked = (*metadata, (f"{REAPI[1:]}requestmetadata-bin", invocation))

    async def publish() -> None:
        await events.unary_unary(f"{EVENTS}PublishLifecycleEvent")(b"", metadata=metadata)
        call = events.stream_stream(f"{EVENTS}PublishBuildToolEventStream")(metadata=metadata)
        for number in range(1, 4):
            event = bazel_pb2.OrderedBuildEvent(stream_id=b"s", sequence_number=number)
            request = bazel_pb2.PublishBuildToolEventStreamRequest(ordered_build_event=event)
            await call.write(request.SerializeToString())
            answer = bazel_pb2.PublishBuildToolEventStreamResponse.FromString(await call.read())
            told.acknowledged.append(answer.sequence_number)
        await call.done_writing()
        assert await call.code() is grpc.StatusCode.OK

    publishing = asyncio.create_task(publish())
    capabilities = channel.unary_unary(f"{REAPI}Capabilities/GetCapabilities")
    told.capabilities = await capabilities(b"", metadata=marked)
    execute = channel.unary_stream(f"{REAPI}Execution/Execute")(b"action", metadata=marked)
    told.executed = [each async for each in execute]
    await publishing
