"""Gives memory that is free inside the process back to the system.

A TLS connection takes blocks of 256 KiB while it lives. What lies between such blocks when they are
freed keeps glibc from giving them back: under an attack of connections a router that holds 20 MiB
grew by 10 MiB a minute.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable

EVERY = 10.0  # seconds; a look that finds nothing takes some 0.3 ms


def trimmer() -> Callable[[], object] | None:
    """glibc's malloc_trim(3) as it is to be called; None where the C library has none."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return None
    return lambda: trim(0)


def give_back_rarely(every: float = EVERY) -> None:
    """Call once; a thread of its own gives back, for ever, what there is by then."""
    trim = trimmer()
    if trim is not None:
        threading.Thread(
            target=_give_back, args=(trim, every), name="free memory", daemon=True
        ).start()


def _give_back(trim: Callable[[], object], every: float) -> None:
    while True:
        time.sleep(every)
        trim()
