"""The Builder service: an archive and a command in, lines and an exit code out."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO

import grpc

from torpor_provisioner.sample.archive import ArchiveTooLarge, BadArchive, unpack
from torpor_provisioner.sample.command import CommandNotRun, Printed, running
from torpor_provisioner.sample.memory import Memory
from torpor_provisioner.sample.v1 import builder_pb2 as pb
from torpor_provisioner.sample.v1 import builder_pb2_grpc as rpc

CACHE_VARIABLE = "TORPOR_CACHE"
IN_MEMORY = 1024 * 1024  # bytes of an archive that are kept in memory before a file is used
INHERITED = ("PATH", "LANG", "TZ", "TMPDIR")

Requests = AsyncIterator[pb.BuildRequest]
Context = grpc.aio.ServicerContext[pb.BuildRequest, pb.BuildEvent]
InfoContext = grpc.aio.ServicerContext[pb.InfoRequest, pb.InfoReply]


class Builder(rpc.BuilderServicer):
    """Builds side by side; the caller's limit is the machine."""

    def __init__(self, memory: Memory, *, max_bytes: int) -> None:
        self._memory = memory
        self._max_bytes = max_bytes

    async def Info(  # noqa: N802 - the RPC's name
        self, _request: pb.InfoRequest, _context: InfoContext
    ) -> pb.InfoReply:
        return await asyncio.to_thread(self._memory.info)

    # A coroutine that writes, not a generator: a cancelled call must end the command here and
    # now, and grpc.aio leaves a generator it was reading to the garbage collector.
    async def Build(  # type: ignore[override]  # noqa: N802 - grpc.aio takes either; the RPC's name
        self, requests: Requests, context: Context
    ) -> None:
        start = await self._start(requests, context)
        workspace = Path(tempfile.mkdtemp(dir=self._memory.workspaces))
        try:
            files = await self._receive(requests, workspace, context)
            counter = self._memory.count_started()
            await context.write(pb.BuildEvent(started=pb.Started(counter=counter, files=files)))
            code = await self._run(start, workspace, context)
            self._memory.count_done()
            await context.write(pb.BuildEvent(finished=pb.Finished(exit_code=code)))
        finally:
            await asyncio.to_thread(shutil.rmtree, workspace, ignore_errors=True)

    async def _start(self, requests: Requests, context: Context) -> pb.BuildStart:
        first = await anext(aiter(requests), None)
        if first is None or first.WhichOneof("part") != "start" or not first.start.command:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT,
                "the first message must be a start with a command",
            )
        return first.start

    async def _receive(self, requests: Requests, workspace: Path, context: Context) -> int:
        with tempfile.SpooledTemporaryFile(IN_MEMORY, dir=str(self._memory.workspaces)) as spool:
            try:
                await self._spool(requests, spool)
                return await asyncio.to_thread(unpack, spool, workspace, max_bytes=self._max_bytes)
            except ArchiveTooLarge as error:
                await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))
            except BadArchive as error:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))

    async def _spool(self, requests: Requests, spool: IO[bytes]) -> None:
        size = 0
        async for request in requests:
            if request.WhichOneof("part") != "chunk":
                raise BadArchive("only chunks may follow the start")
            size += len(request.chunk)
            if size > self._max_bytes:
                raise ArchiveTooLarge(f"the archive is larger than {self._max_bytes} bytes")
            spool.write(request.chunk)

    async def _run(self, start: pb.BuildStart, workspace: Path, context: Context) -> int:
        environment = {
            **{name: os.environ[name] for name in INHERITED if name in os.environ},
            "HOME": str(workspace),
            **start.environment,
            CACHE_VARIABLE: str(self._memory.cache.resolve()),
        }
        try:
            async with running(start.command, cwd=workspace, environment=environment) as run:
                async for printed in run.lines():
                    await context.write(pb.BuildEvent(line=_line(printed)))
                return await run.exit_code()
        except CommandNotRun as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"cannot run: {error}")


def _line(printed: Printed) -> pb.Line:
    source = pb.Line.SOURCE_STDERR if printed.error else pb.Line.SOURCE_STDOUT
    return pb.Line(source=source, text=printed.text)
