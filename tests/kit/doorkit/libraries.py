"""Client libraries of several languages, each a process that makes calls as it is told.

`clients/` has one program for each. It is started with the door's address, a service config and
the milliseconds between two keepalive PINGs (0 for none), reads a call from each line of its
standard input, or that it is cancelled, and writes what comes of it:

    {"id": 1, "path": "/t.T/Both", "metadata": {}, "deadline": null, "stream": true}
    {"id": 1, "cancel": true}
    {"id": 1, "came": true}                            the stream's first message
    {"id": 1, "code": 0, "details": ""}                its end
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
HERE = ROOT / "tests/router/interop/clients"
TOOLS = ROOT / ".tools"
NODE_MODULES = TOOLS / "grpc-js/node_modules"


@dataclass(frozen=True)
class Library:
    """`needs` is what `.ci/tools` puts there; `health` says that it checks health by itself."""

    name: str
    command: tuple[str, ...]
    needs: Path
    health: bool = True
    shortest_keepalive: int = 200  # milliseconds

    @asynccontextmanager
    async def channel(
        self, target: str, *, config: object = None, keepalive: int = 0
    ) -> AsyncIterator[Channel]:
        """Start the program, whose one channel this is."""
        if not self.needs.exists():
            missing = f"{self.name} is not in .tools; 'make tools' says why"
            if os.environ.get("CI") == "true":
                pytest.fail(missing)
            pytest.skip(missing)
        process = await asyncio.create_subprocess_exec(
            *(*self.command, target, json.dumps(config or {}), str(keepalive)),
            env={**os.environ, "NODE_PATH": str(NODE_MODULES), "GRPC_VERBOSITY": "NONE"},
            stdin=PIPE,
            stdout=PIPE,
        )
        made = Channel(process)
        try:
            yield made
        finally:
            await made.aclose()


GRPC_GO = Library(
    "grpc-go",
    (str(TOOLS / "grpc-go-client"),),
    TOOLS / "grpc-go-client",
    shortest_keepalive=10_000,  # what it takes for less
)
GRPC_JS = Library("grpc-js", ("node", str(HERE / "client.js")), NODE_MODULES, health=False)
GRPCIO = Library("grpcio", (sys.executable, str(HERE / "client.py")), Path(sys.executable))
LIBRARIES = (GRPC_GO, GRPC_JS, GRPCIO)


@dataclass(frozen=True)
class Outcome:
    code: int
    details: str


class Call:
    """One call; `came` is set by its first message."""

    def __init__(self, channel: Channel, number: int) -> None:
        self.number = number
        self.came = asyncio.Event()
        self.outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._channel = channel

    def cancel(self) -> None:
        self._channel.tell(id=self.number, cancel=True)


class Channel:
    def __init__(self, process: Process) -> None:
        self._process = process
        self._calls: dict[int, Call] = {}
        self._numbers = count(1)
        self._reading = asyncio.create_task(self._read())

    def begin(
        self,
        path: str,
        metadata: tuple[tuple[str, str], ...] = (),
        *,
        deadline: float | None = None,
        stream: bool = False,
    ) -> Call:
        """Begin a call with an empty message; a stream's client never ends it."""
        call = Call(self, next(self._numbers))
        self._calls[call.number] = call
        asked = {"path": path, "metadata": dict(metadata), "deadline": deadline, "stream": stream}
        self.tell(id=call.number, **asked)
        return call

    async def call(self, path: str, metadata: tuple[tuple[str, str], ...] = ()) -> Outcome:
        return await self.begin(path, metadata).outcome

    def tell(self, **command: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            told = json.loads(line)
            call = self._calls[told.pop("id")]
            if told.pop("came", False):
                call.came.set()
            else:
                call.outcome.set_result(Outcome(**told))
        for call in self._calls.values():
            if not call.outcome.done():
                call.outcome.set_exception(EOFError("the client's program ended"))

    async def aclose(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        await self._reading
        for call in self._calls.values():
            if call.outcome.done():
                call.outcome.exception()  # which a test that has failed has not looked at
