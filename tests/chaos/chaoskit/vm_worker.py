"""The worker in a virtual machine of a run, with nothing of Torpor's: it serves the two methods of
`worker`, and says on the console which calls are open.

A line is through before the call is answered: what the host has read of the console when the
machine stands still is what was open.
"""

from __future__ import annotations

import asyncio
import os
import termios
from collections.abc import AsyncIterator
from typing import Any

import grpc

TICK = 0.5
CONSOLE = os.open("/dev/ttyS0", os.O_WRONLY | os.O_NOCTTY)


def say(event: str, call: str = "-") -> None:
    os.write(CONSOLE, f"\nwitness {event} {call}\n".encode())
    termios.tcdrain(CONSOLE)


class Open:
    def __init__(self, context: Any) -> None:
        [self.call] = [v for k, v in context.invocation_metadata() if k == "chaos-call"]

    def __enter__(self) -> None:
        say("opened", self.call)

    def __exit__(self, *_: object) -> None:
        say("closed", self.call)


async def unary(request: bytes, context: Any) -> bytes:
    with Open(context):
        await context.send_initial_metadata(())
        await asyncio.sleep(float(request))
        return b"0"


async def stream(request: bytes, context: Any) -> AsyncIterator[bytes]:
    with Open(context):
        await context.send_initial_metadata(())
        for left in reversed(range(int(request))):
            await asyncio.sleep(TICK)
            yield b"%d" % left


async def main() -> None:
    server = grpc.aio.server()
    methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Stream": grpc.unary_stream_rpc_method_handler(stream),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("chaos.Build", methods),))
    server.add_insecure_port("0.0.0.0:8372")
    say("booted")
    await server.start()
    await asyncio.Event().wait()


asyncio.run(main())
