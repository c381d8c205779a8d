"""Gives memory that is free inside the process back to the system.

A TLS connection takes blocks of 256 KiB while it lives. What lies between such blocks when they are
freed keeps glibc from giving them back: under an attack of connections a router that holds 20 MiB
grew by 10 MiB a minute.
"""

from __future__ import annotations

import asyncio
import ctypes
from collections.abc import Callable

EVERY = 10.0  # seconds; a look that finds nothing takes some 0.3 ms


def trimmer() -> Callable[[], object] | None:
    """glibc's malloc_trim(3) as it is to be called; None where the C library has none."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return None
    return lambda: trim(0)


async def give_back_for_ever(every: float = EVERY) -> None:
    """What there is by then, again and again; returns at once where nothing can be given back."""
    trim = trimmer()
    while trim is not None:
        await asyncio.sleep(every)
        await asyncio.to_thread(trim)
