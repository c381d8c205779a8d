"""The whole system for a test, and the real tools it is tried with."""

from __future__ import annotations

import shlex
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from e2ekit.bazel import Bazel
from e2ekit.deployment import Deployment, deployed
from e2ekit.real_tools import BAZEL, BUILDGRID, tool

HERE = Path(__file__).parent


def command(script: str, *arguments: str) -> str:
    """A worker command that runs a script of ours."""
    return " ".join(
        [*map(shlex.quote, (sys.executable, str(HERE / "workers" / script))), *arguments]
    )


@pytest.fixture
async def bazel(tmp_path: Path) -> AsyncIterator[Bazel]:
    client = Bazel(tool(BAZEL), tmp_path)
    yield client
    await client.shutdown()


@pytest.fixture
def buildgrid() -> str:
    """A worker command: a remote cache."""
    program = (sys.executable, "-m", "torpor_provisioner.local.buildgrid", str(tool(BUILDGRID)))
    return " ".join([*map(shlex.quote, program), "{socket} {data}"])


@pytest.fixture
def shapes() -> str:
    """A worker command: every stream shape."""
    return command("shapes_worker.py", "{host} {port} {data}")


@pytest.fixture
async def torpor(
    database_url: str, tmp_path: Path
) -> AsyncIterator[Callable[..., Awaitable[Deployment]]]:
    """Make a deployment of so many nodes; keywords are TORPOR_ variables of theirs."""
    async with AsyncExitStack() as stack:

        async def make(nodes: int = 1, **environment: object) -> Deployment:
            variables = {f"TORPOR_{name}": str(value) for name, value in environment.items()}
            made = await stack.enter_async_context(deployed(database_url, tmp_path, variables))
            for _ in range(nodes):
                await made.node()
            return made

        yield make
