"""The serial line to the agent in a machine: two named pipes that QEMU holds open at one end.

A guest is a stranger: what it says is read in small pieces, and means "done" or nothing.
"""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

DONE = b"done"
_POLL = 0.01  # seconds
_MOST = 4096  # octets that are read of one answer


class Line:
    NAME: ClassVar[str] = "agent"

    def __init__(self, folder: Path) -> None:
        self._to = folder / f"{self.NAME}.in"
        self._from = folder / f"{self.NAME}.out"

    @classmethod
    def make(cls, folder: Path) -> None:
        for end in ("in", "out"):
            with suppress(FileExistsError):
                os.mkfifo(folder / f"{cls.NAME}.{end}", 0o600)

    async def tell(self, text: str, within: float) -> bool:
        """Whether the agent has done as one line says, in so many seconds."""
        try:
            reads = os.open(self._from, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            self._forget(reads)
            if not self._say(text):
                return False
            return await self._answered(reads, time.monotonic() + within)
        finally:
            os.close(reads)

    def _say(self, text: str) -> bool:
        try:
            line = os.open(self._to, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:  # nobody holds its other end
            return False
        try:
            return os.write(line, f"{text}\n".encode()) > 0
        except OSError:  # it is full: nobody has read for long
            return False
        finally:
            os.close(line)

    @staticmethod
    def _forget(reads: int) -> None:
        """What was said before: an answer that came late is no answer to this."""
        with suppress(BlockingIOError):
            while os.read(reads, 65536):
                pass

    @staticmethod
    async def _answered(reads: int, end: float) -> bool:
        heard = b""
        while time.monotonic() < end and len(heard) < _MOST:
            with suppress(BlockingIOError):
                heard += os.read(reads, 256)
            *lines, heard = heard.split(b"\n")
            if any(line.strip() == DONE for line in lines):
                return True
            await asyncio.sleep(_POLL)
        return False
