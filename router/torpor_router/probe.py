"""Whether a worker answers: not only its port, but its HTTP/2."""

from __future__ import annotations

import asyncio

from torpor_provisioner.contract import Address
from torpor_router.h2.wire import ACK, HEADER_SIZE, PREFACE, Kind, settings, unpack_header


async def answers(address: Address, timeout: float) -> bool:  # noqa: ASYNC109 - the lifecycle's probe takes its limit as a value
    """True when the worker's SETTINGS come within `timeout` seconds (RFC 9113 section 3.4)."""
    try:
        async with asyncio.timeout(timeout):
            return await _greeted(address)
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return False


async def _greeted(address: Address) -> bool:
    reader, writer = await asyncio.open_connection(address.host, address.port)
    try:
        writer.write(PREFACE + settings(()))
        word, flags, stream = unpack_header(await reader.readexactly(HEADER_SIZE), 0)
        return word & 0xFF == Kind.SETTINGS and not flags & ACK and stream == 0
    finally:
        writer.transport.abort()
