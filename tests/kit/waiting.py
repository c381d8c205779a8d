"""Waiting in tests: for a condition, never for a time."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable

import pytest

LONG = 90.0  # seconds; how long anything may take before a test calls it broken
_LOOK = 0.01  # seconds between two looks


async def until(condition: Callable[[], object | Awaitable[object]], what: str = "") -> None:
    """Wait until `condition()` is true; if it gives an awaitable, until what that gives is true.

    The test fails with `what` if that takes too long.
    """
    try:
        async with asyncio.timeout(LONG):
            while True:
                met = condition()
                if inspect.isawaitable(met):
                    met = await met
                if met:
                    return
                await asyncio.sleep(_LOOK)
    except TimeoutError:
        pytest.fail(_broken(what))


def until_blocking(condition: Callable[[], object], what: str = "") -> None:
    """Likewise, for tests without an event loop."""
    end = time.monotonic() + LONG
    while not condition():
        if time.monotonic() > end:
            pytest.fail(_broken(what))
        time.sleep(_LOOK)


def _broken(what: str) -> str:
    return f"not so after {LONG:.0f} s" + (f": {what}" if what else "")
