"""What stands on a pseudo-terminal."""

from __future__ import annotations

import asyncio
import errno
import os

from waiting import LONG


async def read_until_closed(ours: int) -> bytes:
    """All that is written to the terminal until its other end is closed; closes this one."""
    shown = b""
    try:
        while part := await asyncio.wait_for(asyncio.to_thread(os.read, ours, 4096), LONG):
            shown += part
    except OSError as error:
        if error.errno != errno.EIO:  # Linux's way of saying that the other end is closed
            raise
    finally:
        os.close(ours)
    return shown
