"""The demo's clients: plain gRPC clients of the sample worker, which know nothing of Torpor but an
address, a name and a token."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import grpc

from torpor_provisioner.sample import client
from torpor_provisioner.sample.v1 import builder_pb2 as pb
from torpor_provisioner.sample.v1 import builder_pb2_grpc as rpc

WITHIN = 240.0  # seconds; the deadline of each call


@dataclass(frozen=True, slots=True)
class BuildCaller:
    """Whose satellite is asked for."""

    satellite: str
    token: str

    @property
    def metadata(self) -> client.Metadata:
        return (("satellite", self.satellite), ("authorization", f"Bearer {self.token}"))


@dataclass(frozen=True, slots=True)
class Built:
    """What became of a build. `wake` is the door's own word of it: ``kind=resumed; held=3.2s``."""

    ok: bool
    took: float  # seconds
    counter: int = 0
    wake: str = ""
    error: str = ""

    @property
    def held(self) -> float | None:
        """Seconds for which the door held it, if it did."""
        for part in self.wake.split("; "):
            name, _, value = part.partition("=")
            if name == "held":
                return float(value.removesuffix("s"))
        return None


async def build(
    target: str,
    caller: BuildCaller,
    sources: Path,
    command: list[str],
    say: Callable[[str], None] = lambda _: None,
) -> Built:
    """One build through the door at `target`, on a connection of its own."""
    began = time.monotonic()
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(target, options=options) as channel:
        call = rpc.BuilderStub(channel).Build(
            client.requests(sources, command), metadata=caller.metadata, timeout=WITHIN
        )
        try:
            return await _followed(call, began, say)
        except grpc.aio.AioRpcError as error:
            message = f"{error.code().name}: {error.details()}"
            return Built(ok=False, took=time.monotonic() - began, error=message)


async def _followed(
    call: grpc.aio.StreamStreamCall[pb.BuildRequest, pb.BuildEvent],
    began: float,
    say: Callable[[str], None],
) -> Built:
    headers = {str(name): str(value) for name, value in await call.initial_metadata() or ()}
    counter, code = 0, -1
    async for event in call:
        match event.WhichOneof("event"):
            case "started":
                counter = event.started.counter
            case "line":
                say(event.line.text.decode(errors="replace"))
            case "finished":
                code = event.finished.exit_code
    took = time.monotonic() - began
    wake = headers.get("x-torpor-wake", "")
    error = "" if code == 0 else f"exit code {code}"
    return Built(ok=code == 0, took=took, counter=counter, wake=wake, error=error)


async def build_at_once(
    targets: list[str], caller: BuildCaller, sources: Path, command: list[str], how_many: int
) -> list[Built]:
    """So many builds at the same time, over the routers in turn."""
    return await asyncio.gather(
        *(
            build(targets[number % len(targets)], caller, sources, command)
            for number in range(how_many)
        )
    )
