"""Ports for servers that a test starts in a process of their own."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack

_LOWEST, _HIGHEST = 10_000, 32_000  # below what Linux and macOS give to outgoing connections


def free_ports(count: int = 1) -> int:
    """The first of `count` ports in a row that nobody listens on, on 127.0.0.1.

    They are not of the kernel's range for clients: a connection that a test beside this one opens
    would otherwise take one now and then, before the server is there.
    """
    for _ in range(1_000):
        first = random.randrange(_LOWEST, _HIGHEST - count)
        with ExitStack() as held:
            try:
                for port in range(first, first + count):
                    held.enter_context(socket.create_server(("127.0.0.1", port)))
            except OSError:
                continue
            return first
    raise AssertionError(f"there are no {count} free ports in a row")
