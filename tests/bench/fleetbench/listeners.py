"""So many listeners as so many processes have, in a process of their own.

    python -m fleetbench.listeners URL NUMBER

listens until its input ends.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import asyncpg

from torpor_statemachine.waiting.pg_listener import CHANNEL


@asynccontextmanager
async def listening(url: str, number: int) -> AsyncIterator[None]:
    command = (sys.executable, "-m", "fleetbench.listeners", url, str(number))
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={"PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    await process.stdout.readline()
    try:
        yield
    finally:
        process.stdin.close()
        await process.wait()


async def _listen(url: str, number: int) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(number):
            connection = await asyncpg.connect(url)
            stack.push_async_callback(connection.close)
            await connection.add_listener(CHANNEL, lambda *_: None)
        print("they listen", flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_listen(sys.argv[1], int(sys.argv[2])))
