"""Ctrl-C while a command waits for what others carry out."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from torpor_router.cli.output import Output


@contextmanager
def goes_on(output: Output, command: str) -> Iterator[None]:
    """Around what comes after the change, in an event loop: an interrupt ends the wait alone.

    It says so, and that `command` shows how far it is.
    """
    try:
        yield
    except asyncio.CancelledError:  # `asyncio.run` makes an interrupt one
        output.remark(f"\nIt goes on without you; '{command}' shows how far it is.")
        raise
