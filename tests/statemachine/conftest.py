"""Fleets over a real Postgres and a cloud in memory that can be told to misbehave."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from fleetkit.world import World
from pgkit.owners import StartOwner, owners

from torpor_statemachine.postgres.pool import Database


@pytest.fixture
async def world(database: Database, database_url: str) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        made = World(database, database_url, stack)
        await database.execute("insert into orgs (id, name) values ($1, 'acme')", made.org_id)
        yield made


@pytest.fixture
async def own() -> AsyncIterator[StartOwner]:
    """Start a process that runs a server in a folder; the process and the server's URL."""
    async with owners() as start:
        yield start


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter, which pytest's own is not."""
    folder = Path(tempfile.mkdtemp(prefix="open-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)
