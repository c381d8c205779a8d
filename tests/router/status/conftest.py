"""The status page over a database of the test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from statuskit.served import Status, served

from torpor_statemachine.postgres.pool import Database


@pytest.fixture
async def status(database: Database) -> AsyncIterator[Status]:
    async with served(database) as made:
        yield made
