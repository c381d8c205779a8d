"""Several workers on one port: one process and one event loop each, kept alive together.

The kernel spreads new connections over them (SO_REUSEPORT). Each worker is a node of its own,
with its own heartbeat and leases, so that one that dies takes only its own streams along. A
worker watches the pipe it was given as standard input: when the supervisor goes, however it
goes, the pipe ends and the worker drains.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Iterable, Mapping, Sequence

from torpor_router.exits import Exit
from torpor_router.serve.config import BadConfiguration
from torpor_router.serve.reload import Reload

logger = logging.getLogger(__name__)

WORKER_INDEX = "TORPOR_WORKER_INDEX"
FIRST_RESTART_DELAY = 0.5  # seconds; doubled at each crash in a row
LONGEST_RESTART_DELAY = 30.0
STEADY_AFTER = 60.0  # a worker that ran this long starts over with the first delay


async def supervise(
    arguments: Sequence[str],
    workers: int,
    environment: Mapping[str, str],
    stop: asyncio.Event,
    reload: Reload,
) -> None:
    """Run `workers` processes of `torpor ARGUMENTS` until `stop` is set, then let them drain.

    Each is told of a `reload`. A worker that dies by itself is started again, later each time it
    happens in a row.

    Raises:
        BadConfiguration: with it, a worker did not even start; another start changes nothing.
    """
    running: dict[int, Process] = {}
    reload.add(lambda: _pass_on(running.values()))
    async with asyncio.TaskGroup() as group:
        kept = [
            group.create_task(_keep_alive(arguments, index, environment, stop, running))
            for index in range(workers)
        ]
    if not all(task.result() for task in kept):
        raise BadConfiguration("the workers have said why")


def _pass_on(workers: Iterable[Process]) -> None:
    for worker in workers:
        assert worker.stdin is not None
        if worker.returncode is None and not worker.stdin.is_closing():
            worker.stdin.write(b"\n")  # see `run._follow_supervisor`


async def _keep_alive(
    arguments: Sequence[str],
    index: int,
    environment: Mapping[str, str],
    stop: asyncio.Event,
    running: dict[int, Process],
) -> bool:
    """False if it would not start with what it was given; then `stop` is set for the others."""
    loop = asyncio.get_running_loop()
    delay = FIRST_RESTART_DELAY
    first = True
    while not stop.is_set():
        started = loop.time()
        worker = running[index] = await _start(arguments, index, environment)
        await _until_either(worker, stop)
        if first and worker.returncode == Exit.USAGE:
            stop.set()
            return False
        if stop.is_set():
            break
        first = False
        if loop.time() - started > STEADY_AFTER:
            delay = FIRST_RESTART_DELAY
        logger.error(
            "worker %d (pid %d) ended with %s; starting it again in %.1f s",
            index,
            worker.pid,
            worker.returncode,
            delay,
        )
        await _sleep_unless(stop, delay)
        delay = min(delay * 2, LONGEST_RESTART_DELAY)
    return True


async def _start(arguments: Sequence[str], index: int, environment: Mapping[str, str]) -> Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "torpor_router.cli.torpor",
        *arguments,
        stdin=PIPE,
        env={**os.environ, **environment, WORKER_INDEX: str(index)},
        # Ctrl-C reaches a whole process group; only the supervisor is to act on it.
        start_new_session=True,
    )


async def _until_either(worker: Process, stop: asyncio.Event) -> None:
    ended = asyncio.create_task(worker.wait())
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if not ended.done():
        worker.terminate()
    await ended
    assert worker.stdin is not None
    worker.stdin.close()


async def _sleep_unless(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
