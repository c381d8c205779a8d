"""A primary is lost, a standby promoted: what comes upon it, and when all is as before."""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from fleetbench import rows
from fleetbench.process import process, said
from pgkit.servers import Server
from pgkit.wire import Wire

from torpor_statemachine.postgres.migrate import migrate
from torpor_statemachine.postgres.pool import Database

PROCESSES = 3
STREAMS = 300  # satellites with builds on them, whose leases the standby lacks
CLAIMS = 300  # wakes under way of a node that ended with the primary
MOST = "400"
WITHIN = 300.0  # seconds
AFTERWARDS = 10.0  # seconds for which they are watched on

# What the standby has of a node that is gone
_GONE = """
insert into nodes (id, expires_at, leases_until)
values ($1, now() - interval '1 second', now() - interval '1 second')
"""
_CLAIMED = """
update satellites set state = 'waking', state_since = now(), epoch = epoch + 1, claimed_by = $1,
    claim_deadline = now() + interval '1 hour'
where id in (select id from satellites where state = 'asleep' order by ref limit $2)
"""
_LEFT = """
select $1 - (select count(*) from leases)
    + (select count(*) from satellites where claimed_by is not null)
"""
_CLIENTS = """
select count(*) from pg_stat_activity
where datname = current_database() and backend_type = 'client backend' and pid <> pg_backend_pid()
"""


@dataclass(frozen=True)
class Failover:
    """`settled`: seconds from the promotion until the leases of all open streams are there again
    and all claims of the node that is gone have come to their end. Of a process: seconds of CPU of
    its longest turn, the most statements in a second. Of all: calls that start a machine, and the
    most connections."""

    satellites: int
    settled: float
    turn: float
    statements: int
    starts: int
    connections: int


async def measure_failover(satellites: int) -> Failover:
    async with AsyncExitStack() as stack:
        primary = await stack.enter_async_context(Server.made(max_connections=MOST))
        await migrate(primary.url)
        async with Database(primary.url) as database:
            await rows.fill(database, satellites)
        standby = await stack.enter_async_context(primary.standby(max_connections=MOST))
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="fleetbench-"))
        wire = await stack.enter_async_context(Wire.laid(primary.url, Path(folder)))
        cloud = stack.enter_context(tempfile.TemporaryDirectory(prefix="fleetbench-"))
        children = [
            await stack.enter_async_context(
                process(wire.url, "failover", cloud, str(n), str(PROCESSES), str(STREAMS))
            )
            for n in range(PROCESSES)
        ]
        await _all_say(children, "here")
        await primary.caught_up(standby)
        await standby.hear_no_more()
        _tell(children, "go")
        await _all_say(children, "admitted")

        await primary.kill()
        await wire.cut()
        await standby.promote()
        promoted = time.monotonic()
        async with Database(standby.url, connections=1) as database:
            gone = uuid4()
            await database.execute(_GONE, gone)
            await database.execute(_CLAIMED, gone, CLAIMS)
            wire.lead_to(standby.url)
            await wire.mend()
            settled, most = await _watch(database)
            settled -= promoted
        _tell(children, "end")
        told = [json.loads(await said(child)) for child in children]
        return Failover(
            satellites,
            settled,
            max(one["turn"] for one in told),
            max(one["statements"] for one in told),
            sum(one["starts"] for one in told),
            most,
        )


async def _watch(database: Database) -> tuple[float, int]:
    """When all is as before, and the most connections until then and a while after."""
    most, settled = 0, None
    async with asyncio.timeout(WITHIN):
        while settled is None or time.monotonic() < settled + AFTERWARDS:
            most = max(most, await database.fetchval(_CLIENTS))
            if settled is None and await database.fetchval(_LEFT, STREAMS) == 0:
                settled = time.monotonic()
            await asyncio.sleep(0.1)
    return settled, most


def _tell(children: list[asyncio.subprocess.Process], word: str) -> None:
    for child in children:
        assert child.stdin is not None
        child.stdin.write(f"{word}\n".encode())


async def _all_say(children: list[asyncio.subprocess.Process], word: str) -> None:
    for child in children:
        heard = (await said(child)).strip()
        assert heard == word, heard
