"""Runs one command and tells its lines as they come.

The command leads a process group of its own, inside the worker's session: the group is what a
cancelled build takes down, the session is what the local provisioner freezes.
"""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio import StreamReader
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

LONGEST_LINE = 64 * 1024  # bytes; a longer one is told in pieces
LINES_AHEAD = 256  # lines that may wait for a slow reader before the command is made to


class CommandNotRun(Exception):
    """The program could not be started at all."""


@dataclass(frozen=True, slots=True)
class Printed:
    """A line of standard output or of standard error."""

    text: bytes
    error: bool


class Running:
    """A command under way. Read `lines` to their end, then `exit_code`."""

    def __init__(self, process: Process, output: StreamReader, errors: StreamReader) -> None:
        self._process = process
        self._output = output
        self._errors = errors
        self._lines: asyncio.Queue[Printed | None] = asyncio.Queue(LINES_AHEAD)
        self._swept = False

    def __repr__(self) -> str:
        return f"<Running pid={self._process.pid} exit={self._process.returncode}>"

    async def lines(self) -> AsyncIterator[Printed]:
        while (printed := await self._lines.get()) is not None:
            yield printed

    async def exit_code(self) -> int:
        """As a shell says it: 128 + n for a command that signal n ended."""
        code = await self._process.wait()
        return code if code >= 0 else 128 - code

    async def pump(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._read(self._output, error=False))
            group.create_task(self._read(self._errors, error=True))
            await self._process.wait()
            # What it left running in the background would hold the pipes open for ever.
            self.kill()
            self._swept = True
        await self._lines.put(None)

    async def _read(self, stream: StreamReader, *, error: bool) -> None:
        rest = b""
        while data := await stream.read(LONGEST_LINE):
            *whole, rest = (rest + data).split(b"\n")
            for line in whole:
                await self._lines.put(Printed(line, error))
            while len(rest) >= LONGEST_LINE:
                await self._lines.put(Printed(rest[:LONGEST_LINE], error))
                rest = rest[LONGEST_LINE:]
        if rest:
            await self._lines.put(Printed(rest, error))

    def kill(self) -> None:
        if self._swept:  # the number may be another group's by now
            return
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)


@asynccontextmanager
async def running(
    command: Sequence[str], *, cwd: Path, environment: Mapping[str, str]
) -> AsyncIterator[Running]:
    """Start `command`; whatever of its process group is left at the end is killed.

    Raises:
        CommandNotRun: there is no such program, or it may not be run.
    """
    async with _pipe() as (output, output_end), _pipe() as (errors, errors_end):
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                cwd=cwd,
                env=environment,
                stdin=DEVNULL,
                stdout=output_end,
                stderr=errors_end,
                process_group=0,
            )
        except (OSError, ValueError) as error:
            raise CommandNotRun(str(error)) from error
        finally:
            os.close(output_end)
            os.close(errors_end)
        run = Running(process, output, errors)
        pump = asyncio.create_task(run.pump())
        try:
            yield run
        finally:
            run.kill()
            pump.cancel()
            with suppress(asyncio.CancelledError):
                await pump
            await process.wait()


# Pipes of our own: with asyncio's, Process.wait returns only once every holder of the write end
# is gone, so a command that leaves something in the background would never be seen to end.
@asynccontextmanager
async def _pipe() -> AsyncIterator[tuple[StreamReader, int]]:
    read_end, write_end = os.pipe()
    reader = StreamReader(limit=LONGEST_LINE)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read_end, "rb", 0)
    )
    try:
        yield reader, write_end
    finally:
        transport.close()
