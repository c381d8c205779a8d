"""Calls the sample worker, directly or through the door."""

from __future__ import annotations

import asyncio
import tarfile
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import IO

import grpc

from torpor_provisioner.sample.v1 import builder_pb2 as pb
from torpor_provisioner.sample.v1 import builder_pb2_grpc as rpc

CHUNK = 64 * 1024  # bytes
Metadata = Sequence[tuple[str, str]]


async def build(
    channel: grpc.aio.Channel,
    source_dir: Path | None,
    command: Sequence[str],
    metadata: Metadata = (),
    *,
    within: float | None = None,
) -> AsyncIterator[pb.BuildEvent]:
    """Build what lies in `source_dir` with `command`; its lines come as they are printed.

    `within` is the deadline, in seconds. Closing the iterator early cancels the build: a caller
    that may stop halfway wraps it in `contextlib.aclosing`.

    Raises:
        grpc.aio.AioRpcError: as the worker, or the door, refused.
    """
    call = rpc.BuilderStub(channel).Build(
        requests(source_dir, command), metadata=tuple(metadata), timeout=within
    )
    try:
        async for event in call:
            yield event
    finally:
        call.cancel()


async def info(
    channel: grpc.aio.Channel, metadata: Metadata = (), *, within: float | None = None
) -> pb.InfoReply:
    """What the worker remembers."""
    return await rpc.BuilderStub(channel).Info(
        pb.InfoRequest(), metadata=tuple(metadata), timeout=within
    )


async def requests(
    source_dir: Path | None, command: Sequence[str]
) -> AsyncIterator[pb.BuildRequest]:
    """A build as the worker wants it sent: the command, then the sources as one archive."""
    yield pb.BuildRequest(start=pb.BuildStart(command=command))
    if source_dir is None:
        return
    with tempfile.TemporaryFile() as archive:
        await asyncio.to_thread(_pack, source_dir, archive)
        archive.seek(0)
        while chunk := archive.read(CHUNK):
            yield pb.BuildRequest(chunk=chunk)


def _pack(source_dir: Path, archive: IO[bytes]) -> None:
    with tarfile.open(fileobj=archive, mode="w:gz", compresslevel=1) as tar:
        tar.add(source_dir, arcname=".")
