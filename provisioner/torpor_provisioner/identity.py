"""Which machine answers: read from a socket that every machine of ours may have.

On each connection it writes one line of JSON and closes; nothing is read from the caller:

    {"boot_id": "2f0c…", "launch_token": "6d1e…/1", "uptime": 12.3}

`boot_id` is the kernel's (/proc/sys/kernel/random/boot_id), or what else is new at each boot. A
machine without such a socket is as good as before: an absent identity refuses nothing.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from torpor_provisioner.contract import Address, Identity

PORT = 8373  # on the machine's private address; 8372 is the worker's
LONGEST = 4096  # octets of a line
_LONGEST_FIELD = 200  # characters


async def read(address: Address, timeout: float) -> Identity | None:  # noqa: ASYNC109 - as a value
    """Who answers at `address` within `timeout` seconds; None if nobody says so."""
    try:
        async with asyncio.timeout(timeout):
            return parse(await _line(address))
    except (OSError, TimeoutError, ValueError):
        return None


def parse(line: bytes) -> Identity:
    """
    Raises:
        ValueError: it is no identity; what listens there may be something else.
    """
    try:
        answer: Any = json.loads(line)
    except RecursionError:
        raise ValueError("no identity") from None
    match answer:
        case {
            "boot_id": str(boot),
            "launch_token": str(token),
            "uptime": float(up) | int(up),
        } if boot and len(boot) <= _LONGEST_FIELD and len(token) <= _LONGEST_FIELD:
            return Identity(boot, token, float(up))
    raise ValueError("no identity")


async def _line(address: Address) -> bytes:
    """
    Raises:
        OSError: nothing listens there.
        ValueError: the line is too long, or does not end.
    """
    if address.is_path:
        reader, writer = await asyncio.open_unix_connection(address.host, limit=LONGEST)
    else:
        reader, writer = await asyncio.open_connection(*address, limit=LONGEST)
    try:
        line = await reader.readline()  # ValueError beyond the limit
    finally:
        writer.transport.abort()
    return line
