"""Connections that have shown no credentials: how many there may be, by address and in all.

Who connects is a stranger until a request of the connection's has been let in. One address may
have so many of them; one more is refused. In all there may be so many, and then the oldest gives
way to a new one: a crowd of silent connections from everywhere keeps nobody out, since a client
shows its credentials within moments. Callers who are known are in neither count.
"""

from __future__ import annotations

import ipaddress
from collections import Counter, OrderedDict
from functools import lru_cache
from typing import Protocol

from torpor_provisioner.errors import TorporError
from torpor_router.errors import GaveWay, TooManyStrangers
from torpor_router.limits import Limits
from torpor_router.names import read_address

_IPV6_SITE = 64  # bits: a host with one IPv6 address has all that begin so
# So many times what is allowed may be on their way out. They are refused in words, which takes a
# client a moment to read; beyond that a connection ends without any.
_LEAVING = 2


class Stranger(Protocol):
    """A client's connection."""

    def refuse(self, error: TorporError) -> None:
        """End it at once, with a word for the client."""
        ...

    def cut(self, error: TorporError) -> None:
        """End its streams with a code, and then itself."""
        ...

    def abort(self) -> None: ...


class Strangers:
    """Connections in the order in which they came. `refused` counts those turned away, by code."""

    def __init__(self, limits: Limits) -> None:
        self._most = limits.strangers
        self._most_of_host = limits.strangers_per_address
        self._staying: OrderedDict[Stranger, str] = OrderedDict()
        self._leaving: dict[Stranger, str] = {}
        self._by_host: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()

    def __repr__(self) -> str:
        hosts, leaving = len(self._by_host), len(self._leaving)
        return f"<Strangers {len(self)} from {hosts} addresses, {leaving} more on their way out>"

    def __len__(self) -> int:
        return len(self._staying)

    def enter(self, stranger: Stranger, address: str) -> None:
        """A new connection from `address`, which may have a port."""
        host = network_of(address)
        self._by_host[host] += 1
        self._staying[stranger] = host
        if self._by_host[host] > self._most_of_host:
            words = self._by_host[host] <= _LEAVING * self._most_of_host
            error = TooManyStrangers(f"{self._most_of_host} are open")
            self._send_away(stranger, error, new=True, words=words)
        elif len(self._staying) > self._most:
            oldest = next(iter(self._staying))
            words = len(self._leaving) < _LEAVING * self._most
            self._send_away(oldest, GaveWay(f"{self._most} are open"), new=False, words=words)

    def leave(self, stranger: Stranger) -> None:
        """It is gone, or a stranger no more. May be told more than once."""
        host = self._staying.pop(stranger, None) or self._leaving.pop(stranger, None)
        if host is not None:
            self._by_host[host] -= 1
            if not self._by_host[host]:
                del self._by_host[host]

    def _send_away(self, stranger: Stranger, error: TorporError, *, new: bool, words: bool) -> None:
        self.refused[error.code] += 1
        self._leaving[stranger] = self._staying.pop(stranger)
        if not words:
            stranger.abort()
        elif new:
            stranger.refuse(error)
        else:
            stranger.cut(error)


def network_of(address: str) -> str:
    """What tells one client from others: its IPv4 address, or the network of its IPv6 address."""
    host, _, _ = address.rpartition(":")
    behind_it_is_a_port = ":" not in host or host.endswith("]")
    return _network_of(host if host and behind_it_is_a_port else address)


@lru_cache(maxsize=4_096)
def _network_of(address: str) -> str:
    host = read_address(address, 0).host
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found, _IPV6_SITE), strict=False))
    return host
