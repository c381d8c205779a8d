"""A fleet as rows: satellites at rest, and the processes that serve them."""

from __future__ import annotations

from uuid import UUID

from torpor_provisioner.contract import Address
from torpor_statemachine.postgres.pool import Database

CLOUD = "bench"
SCRAPE = 15.0  # seconds between two reads of a process's metrics
ADDRESS = Address("10.0.0.1", 50_051)  # of every machine

# One in five runs and is idle, the others sleep; none is due for anything
_FILL = """
with org as (insert into orgs (name) values ('acme') returning id)
insert into satellites (org_id, name, provisioner, arch, state, state_since, ref, host, port,
    sleep_kind, idle_since, sleep_due, epoch, checked_at)
select org.id, 'satellite-' || n, $2, 'x86_64',
    case when n % 5 = 0 then 'running' else 'asleep' end, now() - interval '1 hour',
    'i-' || lpad(n::text, 17, '0'), '10.0.0.1', 50051,
    case when n % 5 <> 0 then 'hibernated' end,
    case when n % 5 = 0 then now() - interval '1 minute' end,
    case when n % 5 = 0 then now() + interval '10 hours' end,
    n % 50, now() - interval '1 hour'
from org, generate_series(1, $1) n
"""
ALL_SLEEP = """
update satellites set
    state = 'asleep', sleep_kind = 'hibernated', idle_since = null, sleep_due = null
"""
_MACHINES = "select ref, id, generation from satellites"


async def fill(database: Database, satellites: int) -> None:
    async with database.borrowed() as connection:
        await connection.execute("set statement_timeout = 0")
        await connection.execute(_FILL, satellites, CLOUD, timeout=600)
        await connection.execute("vacuum analyze", timeout=600)
        await connection.execute("checkpoint", timeout=600)
        await connection.execute("reset statement_timeout")


async def running(database: Database) -> set[str]:
    """The machines of those that run."""
    found = await database.fetch("select ref from satellites where state = 'running'")
    return {row["ref"] for row in found}


async def machines(database: Database) -> dict[str, tuple[UUID, int]]:
    """Every satellite's machine, as a cloud lists them."""
    found = await database.fetch(_MACHINES)
    return {row["ref"]: (row["id"], row["generation"]) for row in found}
