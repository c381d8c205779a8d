"""Several processes on one port, one event loop each, kept alive together.

The kernel spreads new connections over them (SO_REUSEPORT). Each process is a node of its own,
with its own heartbeat and leases, so that one that dies takes only its own streams along. A
process watches the pipe that it was given as standard input: when the supervisor ends, for
whatever reason, the pipe ends and the process drains. What they must know of each other's strangers
is in an open file that they share (`transport.failed_hosts`).
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import Iterable, Mapping, Sequence

from torpor_router.exits import Exit
from torpor_router.serve.config import BadConfiguration
from torpor_router.serve.reload import Reload
from torpor_router.transport.failed_hosts import shared_table

logger = logging.getLogger(__name__)

PROCESS_INDEX = "TORPOR_PROCESS_INDEX"
FAILED_HOSTS = "TORPOR_FAILED_HOSTS"  # the shared file's descriptor
FIRST_RESTART_DELAY = 0.5  # seconds; doubled at each crash in a row
LONGEST_RESTART_DELAY = 30.0
STEADY_AFTER = 60.0  # a process that ran this long starts over with the first delay


async def supervise(
    arguments: Sequence[str],
    processes: int,
    environment: Mapping[str, str],
    stop: asyncio.Event,
    reload: Reload,
) -> None:
    """Run `processes` times `torpor ARGUMENTS` until `stop` is set, then let them drain.

    A `reload` is passed on to each. A process that dies by itself is started again, later each
    time that it happens in a row.

    Raises:
        BadConfiguration: a process did not even start with it; another start changes nothing.
    """
    running: dict[int, Process] = {}
    reload.add(lambda: _pass_on(running.values()))
    with tempfile.TemporaryFile() as shared:
        shared_table(shared)
        environment = {**environment, FAILED_HOSTS: str(shared.fileno())}
        async with asyncio.TaskGroup() as group:
            kept = [
                group.create_task(_keep_alive(arguments, index, environment, stop, running))
                for index in range(processes)
            ]
    if not all(task.result() for task in kept):
        raise BadConfiguration("the log says why")


def _pass_on(processes: Iterable[Process]) -> None:
    for process in processes:
        assert process.stdin is not None
        if process.returncode is None and not process.stdin.is_closing():
            process.stdin.write(b"\n")  # see `run._follow_supervisor`


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
        process = running[index] = await _start(arguments, index, environment)
        await _until_either(process, stop)
        if first and process.returncode == Exit.USAGE:
            stop.set()
            return False
        if stop.is_set():
            break
        first = False
        if loop.time() - started > STEADY_AFTER:
            delay = FIRST_RESTART_DELAY
        logger.error(
            "process %d (pid %d) ended with %s; starting it again in %.1f s",
            index,
            process.pid,
            process.returncode,
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
        pass_fds=(int(environment[FAILED_HOSTS]),),
        env={**os.environ, **environment, PROCESS_INDEX: str(index)},
        # Ctrl-C reaches a whole process group; only the supervisor is to act on it.
        start_new_session=True,
    )


async def _until_either(process: Process, stop: asyncio.Event) -> None:
    ended = asyncio.create_task(process.wait())
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if not ended.done():
        process.terminate()
    await ended
    assert process.stdin is not None
    process.stdin.close()


async def _sleep_unless(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
