"""Orgs, tokens and satellites in a database."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from uuid import UUID

import pytest

from torpor_router.access.store import Store
from torpor_statemachine.postgres.pool import Database


@pytest.fixture
def store(database: Database) -> Store:
    return Store(database)


@pytest.fixture
def satellite(database: Database) -> Callable[[str], Awaitable[UUID]]:
    """Make one by its full name; its org is made if need be."""

    async def make(full_name: str, state: str = "asleep") -> UUID:
        org, name = full_name.split("/")
        await database.execute("insert into orgs (name) values ($1) on conflict do nothing", org)
        return await database.fetchval(
            """
            insert into satellites (org_id, name, provisioner, arch, state)
            select id, $2, 'local', 'x86_64', $3 from orgs where name = $1
            returning id
            """,
            org,
            name,
            state,
        )

    return make
