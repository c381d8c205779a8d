"""TCP keepalive: what a connection says when neither side has anything to say.

A build may be silent for ten minutes, and NAT gateways forget a connection after six (AWS: 350 s).
A peer that vanished without a word (its machine has lost power, or its network) is noticed two
minutes after it was last heard.

TCP_USER_TIMEOUT is left alone on purpose. It would end a peer that answers every probe but does not
read, for which the door has a limit of its own (`Limits.write_stall`), and where it is set, Linux
goes by it instead of counting probes: idle peers that vanished would be noticed later, not sooner.
"""

from __future__ import annotations

import socket
from typing import Protocol

IDLE = 60  # seconds of silence before the first probe
EVERY = 15  # seconds between probes
TIMES = 4  # probes without an answer, until the connection is given up

# What macOS calls the first of them
_TCP_KEEPIDLE: int = getattr(socket, "TCP_KEEPIDLE", 0x10)


class Socket(Protocol):
    """A socket, or what a transport gives in its place."""

    def setsockopt(self, level: int, option: int, value: int, /) -> None: ...


def keep_alive(sock: Socket) -> None:
    """Probe the peer of a TCP socket; those accepted from a listener inherit it."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, _TCP_KEEPIDLE, IDLE)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, EVERY)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, TIMES)
