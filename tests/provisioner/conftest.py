"""A sample worker of one's own, and what tests ask of processes."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest

from torpor_provisioner.contract import Arch, Spec
from torpor_provisioner.local import LocalProvisioner, LocalSettings
from torpor_provisioner.local.settings import WorkerCommand


@asynccontextmanager
async def sample_worker(data: Path, *arguments: str) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to a sample worker in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "torpor_provisioner.sample", "--port", "0", "--data", str(data), *arguments),
        stdout=PIPE,
        stderr=STDOUT,
    )
    try:
        assert process.stdout is not None
        greeting = (await process.stdout.readline()).decode()
        assert greeting.startswith("sample worker on "), greeting
        address = greeting.split(",")[0].removeprefix("sample worker on ")
        async with grpc.aio.insecure_channel(address) as channel:
            yield channel
    finally:
        process.terminate()
        await process.communicate()


@pytest.fixture(name="sample_worker")
def _sample_worker() -> object:
    return sample_worker


@pytest.fixture
def spec() -> Callable[..., Spec]:
    """Makes the spec of a satellite that is new at each call."""

    def make(*, name: str = "one", hibernate: bool = True, **settings: str) -> Spec:
        return Spec(uuid4(), 1, "acme", name, Arch.X86_64, hibernate=hibernate, settings=settings)

    return make


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter, which pytest's own is not."""
    with tempfile.TemporaryDirectory(prefix="open-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
async def local(tmp_path: Path) -> AsyncIterator[Callable[..., LocalProvisioner]]:
    """Makes provisioners of one data folder; whatever they launched is ended."""
    made: list[LocalProvisioner] = []

    def make(worker: str | None = None, **settings: Any) -> LocalProvisioner:
        if worker is not None:
            settings["workers"] = {"default": WorkerCommand.parse(worker)}
        made.append(LocalProvisioner(tmp_path / "local", LocalSettings(**settings)))
        return made[-1]

    yield make
    for ref in await make().owned():
        await made[-1].terminate(ref)
    for provisioner in made:
        await provisioner.aclose()
