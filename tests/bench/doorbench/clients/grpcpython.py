"""Calls of grpcio, each with a trace of its own and binary metadata.

    grpcpython.py ADDRESS CALLS CHANNELS AT_ONCE MESSAGE-FILE NAME=VALUE...

Each channel has AT_ONCE calls under way. Prints the seconds that it took.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
import time
from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path

import grpc
import uvloop


async def main(address: str, calls: int, channels: int, at_once: int, rest: list[str]) -> None:
    message = Path(rest[0]).read_bytes()[5:]
    fixed = [(name, value) for name, _, value in (each.partition("=") for each in rest[1:])]
    numbers = count()

    async def ask(call: Callable[..., Awaitable[bytes]]) -> None:
        while next(numbers) < calls:
            trace = f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"
            own = ("traceparent", trace), ("x-request-meta-bin", secrets.token_bytes(40))
            await call(message, metadata=(*own, *fixed), timeout=60)

    made = [
        grpc.aio.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)])
        for _ in range(channels)
    ]
    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for channel in made:
            call: Callable[..., Awaitable[bytes]] = channel.unary_unary("/bench.Worker/Unary.grpc")
            for _ in range(at_once):
                group.create_task(ask(call))
    print(time.monotonic() - began, flush=True)
    for channel in made:
        await channel.close()


if __name__ == "__main__":
    where, calls, channels, at_once, *rest = sys.argv[1:]
    uvloop.run(main(where, int(calls), int(channels), int(at_once), rest))
