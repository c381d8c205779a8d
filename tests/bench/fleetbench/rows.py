"""A fleet as rows: satellites at rest, and the processes that serve them."""

from __future__ import annotations

from uuid import UUID

from torpor_statemachine.postgres.pool import Database

CLOUD = "bench"

# One in five runs and is idle, the others sleep; none is due for anything
_FILL = """
with org as (insert into orgs (name) values ('acme') returning id)
insert into satellites (org_id, name, provisioner, arch, state, state_since, ref, host, port,
    sleep_kind, idle_since, sleep_due, epoch, checked_at)
select org.id, 'satellite-' || n, $2, 'x86_64',
    case when n % 5 = 0 then 'running' else 'asleep' end, now() - interval '1 hour',
    'i-' || lpad(n::text, 17, '0'), '10.0.' || n / 250 % 250 || '.' || n % 250, 50051,
    case when n % 5 <> 0 then 'hibernated' end,
    case when n % 5 = 0 then now() - interval '1 minute' end,
    case when n % 5 = 0 then now() + interval '10 hours' end,
    n % 50, now() - interval '1 hour'
from org, generate_series(1, $1) n
"""
_MACHINES = "select ref, id, generation from satellites"


async def fill(database: Database, satellites: int) -> None:
    async with database.borrowed() as connection:
        await connection.execute("set statement_timeout = 0")
        await connection.execute(_FILL, satellites, CLOUD, timeout=600)
        await connection.execute("vacuum analyze", timeout=600)
        await connection.execute("checkpoint", timeout=600)
        await connection.execute("reset statement_timeout")


async def machines(database: Database) -> dict[str, tuple[UUID, int]]:
    """Every satellite's machine, as a cloud lists them."""
    found = await database.fetch(_MACHINES)
    return {row["ref"]: (row["id"], row["generation"]) for row in found}
