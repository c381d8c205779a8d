"""Whether a worker answers: not only its port, but its HTTP/2."""

from __future__ import annotations

import asyncio
import ssl

from torpor_provisioner.contract import Address
from torpor_router.dial import dial
from torpor_router.h2.wire import ACK, HEADER_SIZE, PREFACE, Kind, settings, unpack_header


async def answers(address: Address, timeout: float, tls: ssl.SSLContext | None = None) -> bool:  # noqa: ASYNC109 - the lifecycle gives its limit as a value
    """True when the worker's SETTINGS come within `timeout` seconds (RFC 9113 section 3.4).

    With `tls`, the worker's certificate is checked, but not whose it is: no request is sent.
    """
    try:
        async with asyncio.timeout(timeout):
            return await _greeted(address, tls)
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return False


async def _greeted(address: Address, tls: ssl.SSLContext | None) -> bool:
    reader, writer = await _connect(address, tls)
    try:
        writer.write(PREFACE + settings(()))
        word, flags, stream = unpack_header(await reader.readexactly(HEADER_SIZE), 0)
        return word & 0xFF == Kind.SETTINGS and not flags & ACK and stream == 0
    finally:
        writer.transport.abort()


async def _connect(
    address: Address, tls: ssl.SSLContext | None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    name = "localhost" if address.is_path else address.host
    transport, protocol = await dial(
        lambda: asyncio.StreamReaderProtocol(reader), address, tls, name if tls else None
    )
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)
