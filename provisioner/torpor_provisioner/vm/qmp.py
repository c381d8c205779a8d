"""Talks to one QEMU over its monitor, by the library of QEMU's own people."""

from __future__ import annotations

import array
import asyncio
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from qemu.qmp import ConnectError, ExecuteError, QMPClient, QMPError

from torpor_provisioner.vm.errors import HypervisorFailed

SOCKET = "qmp"
_ANSWERS_WITHIN = 15.0  # seconds; a monitor is at other work for as long as a disk is slow
_GREETS_WITHIN = 30.0  # from the start of the process

# It logs each end of a connection as an error, which here is a machine that was put to sleep.
logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL)


class Monitor:
    """One connection; QEMU serves one at a time."""

    def __init__(self, client: QMPClient, line: socket.socket) -> None:
        self._client = client
        self._line = line  # a second handle, for file descriptors

    @classmethod
    async def greeted(cls, line: socket.socket) -> Monitor:
        """Over a socket that is connected; QEMU itself may yet be starting.

        Raises:
            HypervisorFailed: it ends, or says nothing.
        """
        client = QMPClient("torpor")
        handle = line.dup()
        try:
            async with asyncio.timeout(_GREETS_WITHIN):
                await client.connect(line)
        except (ConnectError, TimeoutError, OSError) as error:
            handle.close()
            line.close()
            raise HypervisorFailed(f"its monitor does not greet: {error}") from error
        return cls(client, handle)

    async def ask(self, command: str, **arguments: Any) -> Any:
        """
        Raises:
            HypervisorFailed: with QEMU's own words.
        """
        given = {name.replace("_", "-"): value for name, value in arguments.items()}
        try:
            async with asyncio.timeout(_ANSWERS_WITHIN):
                return await self._client.execute(command, given or None)
        except ExecuteError as error:
            raise HypervisorFailed(f"{command}: {error}") from error
        except TimeoutError as error:
            raise HypervisorFailed(f"{command}: no answer") from error
        except (QMPError, OSError, EOFError) as error:
            raise HypervisorFailed(f"{command}: {type(error).__name__} {error}") from error

    async def give(self, name: str, file: int) -> None:
        """Hand over an open file, under a name; ours may be closed then."""
        with suppress(OSError):
            self._line.sendmsg(
                [b" "], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [file]))]
            )
        await self.ask("getfd", fdname=name)

    async def hang_up(self) -> None:
        """Nothing happens if it was done."""
        self._line.close()
        # After `quit` the library raises what it has met at the end of the line.
        with suppress(QMPError, OSError, EOFError, TimeoutError):
            async with asyncio.timeout(_ANSWERS_WITHIN):
                await self._client.disconnect()


def listening(folder: Path) -> socket.socket:
    """A new monitor socket in a machine's folder, for the QEMU that is about to start."""
    (folder / SOCKET).unlink(missing_ok=True)
    made = socket.socket(socket.AF_UNIX)
    with _short(folder) as short:
        made.bind(f"{short}/{SOCKET}")
    made.listen(4)
    return made


def connected(folder: Path) -> socket.socket:
    """
    Raises:
        HypervisorFailed: no QEMU listens there.
    """
    made = socket.socket(socket.AF_UNIX)
    try:
        with _short(folder) as short:
            made.connect(f"{short}/{SOCKET}")
    except OSError as error:
        made.close()
        raise HypervisorFailed(f"its monitor cannot be reached: {error.strerror}") from error
    made.settimeout(0.0)  # asyncio waits for it
    return made


@contextmanager
def _short(folder: Path) -> Iterator[str]:
    """A path to `folder` that is short enough for the address of a socket (unix(7))."""
    opened = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{opened}"
    finally:
        os.close(opened)
