"""The `satellite` command against a control server over an fake fleet."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from controlkit.fakes import FakeCallers, FakeFleet
from waiting import LONG

from torpor_provisioner.contract import Address
from torpor_router.cli.satellite import main
from torpor_router.cli.torpor import main as torpor_main
from torpor_router.control.access_calls import AccessCalls
from torpor_router.control.server import ControlServer
from torpor_statemachine.lifecycle.satellite import Satellite

NOTHING: Any = None
WHOAMI_ALONE = AccessCalls(NOTHING, NOTHING, NOTHING, NOTHING, NOTHING, issuing=NOTHING)


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> Any:
        """What went wrong, told under --json."""
        return json.loads(self.err)["error"]


@dataclass
class Commands:
    """`satellite`, with what it is told of its router by the environment."""

    fleet: FakeFleet
    server: ControlServer
    environment: dict[str, str] = field(default_factory=dict)

    async def serve(self, where: Address) -> None:
        bound = await self.server.start(where)
        self.environment = {"TORPOR_ADDRESS": f"{bound[0]}:{bound[1]}", "TORPOR_TOKEN": "acme"}  # type: ignore[index]

    async def replace_router(self) -> None:
        """Let another router take the place of this one, on the same fleet."""
        host, _, port = self.environment["TORPOR_ADDRESS"].partition(":")
        await self.server.drain(LONG)
        await self.server.aclose()
        self.server = ControlServer(self.fleet, FakeCallers(), access=WHOAMI_ALONE, beat=0.2)
        await self.serve(Address(host, int(port)))

    async def run(self, *arguments: str, **environment: str) -> Done:
        """In this process, on a thread."""
        variables = {**self.environment, **environment}
        done = await asyncio.wait_for(
            asyncio.to_thread(CliRunner().invoke, main, arguments, env=variables), LONG
        )
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Done(done.exit_code, done.stdout, done.stderr)

    async def start(self, *arguments: str, **options: Any) -> asyncio.subprocess.Process:
        """As a process of its own."""
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "torpor_router.cli.satellite", *arguments),
            env={**os.environ, **self.environment},
            **{"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.PIPE, **options},
        )


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whoever runs the tests may use Torpor."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    for name in list(os.environ):
        if name.startswith("TORPOR_"):
            monkeypatch.delenv(name)


@pytest.fixture
async def commands() -> AsyncIterator[Callable[..., Awaitable[Commands]]]:
    """The command for whoever owns these satellites; what begins with them also ends."""
    made: list[Commands] = []

    async def make(*satellites: Satellite, by_itself: bool = True, beat: float = 0.2) -> Commands:
        fleet = FakeFleet(*satellites, by_itself=by_itself)
        server = ControlServer(fleet, FakeCallers(), access=WHOAMI_ALONE, beat=beat)
        made.append(Commands(fleet, server))
        await made[-1].serve(Address("127.0.0.1", 0))
        return made[-1]

    yield make
    for each in made:
        await each.server.aclose()
        await each.fleet.aclose()


@pytest.fixture
def torpor(database_url: str) -> Callable[..., Awaitable[Result]]:
    """Run `torpor` on the test's database, with what is typed on its terminal as `typed`."""

    async def run(
        *arguments: str, url: str | None = database_url, typed: str | None = None
    ) -> Result:
        environment = {"TORPOR_DATABASE_URL": url}
        # in a thread: each command has an event loop of its own
        return await asyncio.to_thread(
            CliRunner().invoke, torpor_main, arguments, env=environment, input=typed
        )

    return run
