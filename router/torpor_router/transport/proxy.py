"""The PROXY protocol, version 2: the client's address, told by a load balancer in front."""

from __future__ import annotations

import socket
from struct import Struct

from torpor_provisioner.contract import Address
from torpor_router.names import written_address

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
HEAD = 16  # octets of the part whose size is fixed
_HEAD = Struct(">12sBBH")
_INET = Struct(">4s4sHH")
_INET6 = Struct(">16s16sHH")
_LONGEST = 4_096  # octets of addresses and TLVs; an NLB sends about a hundred

_LOCAL, _PROXY = 0x20, 0x21
_TCP4, _TCP6 = 0x11, 0x21


class BadProxyHeader(Exception):
    """What came is not a PROXY v2 header; nothing can be said to who sent it."""


def head(octets: bytes) -> tuple[int, int, int]:
    """Command, family and the size of what follows, from the first `HEAD` octets.

    Raises:
        BadProxyHeader: another protocol, another version, or too long.
    """
    signature, command, family, size = _HEAD.unpack(octets)
    if signature != SIGNATURE or command not in (_LOCAL, _PROXY) or size > _LONGEST:
        raise BadProxyHeader("no PROXY v2 header")
    return command, family, size


def source(command: int, family: int, rest: bytes) -> str | None:
    """The client's ``host:port``; None for the load balancer's own health checks, or where the
    client did not come over TCP.

    Raises:
        BadProxyHeader: the addresses are cut short.
    """
    if command == _LOCAL or family not in (_TCP4, _TCP6):
        return None
    form, kind = (_INET, socket.AF_INET) if family == _TCP4 else (_INET6, socket.AF_INET6)
    if len(rest) < form.size:
        raise BadProxyHeader("addresses cut short")
    client, _, port, _ = form.unpack_from(rest)
    return written_address(Address(socket.inet_ntop(kind, client), port))
