"""How a database is, as an operator's doctor looks at it."""

from __future__ import annotations

import time
from dataclasses import dataclass

import asyncpg

from torpor_statemachine.postgres.migrate import shipped
from torpor_statemachine.postgres.pool import Database

_LOOK = """
select current_setting('server_version') as version,
       extract(epoch from clock_timestamp())::float8 as clock
"""
_APPLIED = "select name from migrations"


@dataclass(frozen=True, slots=True)
class Health:
    """`ahead` is by how many seconds its clock is ahead of ours (behind, if negative), about as
    exact as a round trip is short. `pending` are migrations of this version, `newer` of others."""

    version: str
    ahead: float
    pending: list[str]
    newer: list[str]


async def health(database: Database) -> Health:
    """
    Raises:
        DatabaseAway, BadDatabaseUrl, ...: it cannot be had.
    """
    sent = time.time()
    row = await database.fetchrow(_LOOK)
    assert row is not None
    ours = (sent + time.time()) / 2
    try:
        applied = [each["name"] for each in await database.fetch(_APPLIED)]
    except asyncpg.UndefinedTableError:
        applied = []
    own = [each.name for each in shipped()]
    return Health(
        version=row["version"],
        ahead=row["clock"] - ours,
        pending=[name for name in own if name not in applied],
        newer=[name for name in applied if name not in own],
    )
