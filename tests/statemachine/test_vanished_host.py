"""A second host whose link is cut in the middle of a transaction: real packets, real silence."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import Process
from contextlib import suppress

import asyncpg
from pgkit.hosts import needs_root, second_host
from pgkit.servers import Server, needs_postgres
from waiting import LONG

from torpor_statemachine.postgres.migrate import migrate
from torpor_statemachine.postgres.pool import Database, DatabaseBusy

NODE = """
import asyncio, sys
from torpor_statemachine.postgres.pool import Database

async def main():
    async with Database(sys.argv[1]) as database:
        idle, locking = await database.connect(), await database.connect()
        await locking.execute("begin")
        await locking.execute("select from orgs for update")
        lost = asyncio.Event()
        idle.add_termination_listener(lambda _: lost.set())
        print("locked", flush=True)
        await lost.wait()
        print("lost", flush=True)

asyncio.run(main())
"""


@needs_root
@needs_postgres
async def test_a_host_that_is_cut_off_keeps_no_lock_and_notices(unused_tcp_port: int) -> None:
    async with (
        second_host() as host,
        Server.made(listen_addresses=host.here, port=str(unused_tcp_port)) as server,
    ):
        await server.trust(f"{host.here}/24")
        await migrate(server.url)
        url = f"postgresql://torpor@{host.here}:{unused_tcp_port}/torpor"
        node = await host.runs(sys.executable, "-c", NODE, url)
        await _says(node, "locked")
        host.cut()
        async with asyncio.timeout(LONG), Database(server.url) as database:
            while True:
                try:
                    await database.execute("select from orgs for update")
                except DatabaseBusy:
                    continue
                else:
                    break
        await _says(node, "lost")
        async with asyncio.timeout(LONG):  # nor does its other session stay
            while await _sessions(server.url):
                await asyncio.sleep(0.1)
        with suppress(ProcessLookupError):  # it may have ended by itself
            node.kill()
        await node.wait()


async def _says(node: Process, word: str) -> None:
    assert node.stdout is not None
    async with asyncio.timeout(LONG):
        assert await node.stdout.readline() == f"{word}\n".encode()


async def _sessions(url: str) -> int:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(
            "select count(*) from pg_stat_activity where client_addr is not null"
        )
    finally:
        await connection.close()
