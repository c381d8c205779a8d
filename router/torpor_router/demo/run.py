"""The demo from its beginning to its end, whichever that is."""

from __future__ import annotations

import asyncio
import io
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import grpc
from rich.console import Console

from torpor_router.demo.afterwards import offer
from torpor_router.demo.clouds import AnyCloud, cloud
from torpor_router.demo.folder import held
from torpor_router.demo.narrator import Narrator
from torpor_router.demo.stage import staged
from torpor_router.demo.story import play

CAME_TRUE, DID_NOT = 0, 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """See `command`."""

    once: bool
    builds: int
    cloud: str
    port: int
    data: Path


def run(options: Options) -> int:
    """Tell the story; the exit code.

    Raises:
        TorporError: the stage could not be set, with the code of why.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # where it cannot print a tick, the story goes on
    narrator = Narrator(Console(highlight=False))
    with held(options.data) as data, cloud(options.cloud, data) as where:
        asyncio.run(_until_interrupted(options, data, where, narrator))
    return CAME_TRUE if narrator.true else DID_NOT


async def _until_interrupted(
    options: Options, data: Path, where: AnyCloud, narrator: Narrator
) -> None:
    """SIGTERM and Ctrl-C end it in good order: nothing is left behind."""
    playing = asyncio.ensure_future(_play(options, data, where, narrator))
    loop = asyncio.get_running_loop()
    interrupted = False

    def interrupt() -> None:
        nonlocal interrupted
        interrupted = True
        playing.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupt)
    try:
        await playing
    except asyncio.CancelledError:
        if not interrupted:
            raise


async def _play(options: Options, data: Path, where: AnyCloud, narrator: Narrator) -> None:
    narrator.chapter("A Postgres and two routers, on this machine")
    finished = False
    async with staged(data, where, options.port) as stage:
        narrator.say(f"routers at {' and '.join(stage.targets)}")
        narrator.say(where.pace)
        if where.warning:
            narrator.say(where.warning)
        try:
            await play(stage, where, narrator, options.builds)
            finished = True
        except (grpc.aio.AioRpcError, TimeoutError) as error:
            narrator.check("the story came to its end", true=False, found=_described(error))
        finally:
            if not finished:
                narrator.true = False
        if not options.once:
            await offer(stage, where, narrator)
            await asyncio.Event().wait()


def _described(error: grpc.aio.AioRpcError | TimeoutError) -> str:
    if isinstance(error, grpc.aio.AioRpcError):
        return f"{error.code().name}: {error.details()}"
    return str(error) or "something never came about"
