"""How an address becomes a connection: a host and port, or a Unix socket of this machine."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from torpor_provisioner.contract import Address
from torpor_router.keepalive import keep_alive

_Protocol = TypeVar("_Protocol", bound=asyncio.Protocol)
_CREDENTIALS = struct.Struct("iII")  # struct ucred of unix(7): pid, uid, gid


async def dial(
    protocol: Callable[[], _Protocol],
    address: Address,
    tls: ssl.SSLContext | None = None,
    server_name: str | None = None,
) -> tuple[asyncio.Transport, _Protocol]:
    """Connect to `address`, over TLS if a context is given.

    Raises:
        OSError: nothing answers there; PermissionError where what listens on a satellite's socket
            is another account's.
    """
    loop = asyncio.get_running_loop()
    if not address.is_path:
        transport, made = await loop.create_connection(
            protocol, address.host, address.port, ssl=tls, server_hostname=server_name
        )
        keep_alive(transport.get_extra_info("socket"))
        return transport, made
    sock = await _connected(loop, Path(address.host))
    try:
        return await loop.create_unix_connection(
            protocol, sock=sock, ssl=tls, server_hostname=server_name
        )
    except BaseException:
        sock.close()
        raise
    finally:
        _leave_to(loop, sock)


def _leave_to(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
    """Let nobody but the transport close the descriptor.

    uvloop's transports do so by number. One that has ended before `create_unix_connection` returns
    never tells `sock`, which would close the number once more when it is collected: by then it is
    another connection's, another tenant's maybe. asyncio's transports use `sock` itself.
    """
    if not isinstance(loop, asyncio.BaseEventLoop):
        sock.detach()


async def _connected(loop: asyncio.AbstractEventLoop, path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(0)
        await loop.sock_connect(sock, str(path))
        sock.getpeername()  # a full backlog looks like success until here (EAGAIN, not EINPROGRESS)
        _check_owner(sock, path)
    except BaseException:
        sock.close()
        raise
    return sock


def _check_owner(sock: socket.socket, path: Path) -> None:
    """Root follows no link that a worker has put in its socket's place: the
    process that called listen(2) must be the account that the socket's folder belongs to."""
    owner = path.parent.stat().st_uid
    if sys.platform != "linux" or owner == os.geteuid():
        return
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, listener, _ = _CREDENTIALS.unpack(credentials)
    if listener != owner:
        raise PermissionError(f"{path} belongs to {owner}, and {listener} listens there")
