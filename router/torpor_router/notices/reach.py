"""Which addresses a webhook may reach.

An org writes any address into its webhook, and the router connects from inside of its own network:
so an org reaches public addresses over TLS and nothing else, unless the operator says so. The
address that is judged is the one that is connected to, after the name was resolved.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from urllib.parse import SplitResult, urlsplit

from torpor_router.notices.errors import BadWebhook

LONGEST_URL = 2_000
_UNICAST = IPv6Network("2000::/3")  # all that IPv6 has given out
_NAT64 = IPv6Network("64:ff9b::/96")
_LOOPBACK = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Reach:
    """`networks` are those that the operator opened to every webhook, without TLS too."""

    networks: tuple[Network, ...] = ()

    def allows(self, address: str, *, plain: bool, operators: bool) -> bool:
        """Whether to connect to that IP address; `plain`: without TLS, `operators`: for a webhook
        of theirs, which may reach any network, and this machine without TLS."""
        found = _embedded(ip_address(address.partition("%")[0]))
        if _in(found, self.networks) or (operators and _in(found, _LOOPBACK)):
            return True
        if plain:
            return False
        return operators or _public(found)


def networks(texts: tuple[str, ...]) -> tuple[Network, ...]:
    """
    Raises:
        ValueError: one is no network, as in 10.0.0.0/8.
    """
    return tuple(ip_network(each) for each in texts)


def checked_url(url: str) -> SplitResult:
    """
    Raises:
        BadWebhook: it is none that a notice could be sent to.
    """
    if len(url) > LONGEST_URL or not url.isascii() or not url.isprintable() or " " in url:
        raise BadWebhook(f"an address has {LONGEST_URL} printable characters of ASCII at most")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise BadWebhook(f"its address: {error}") from None
    if parts.scheme not in ("https", "http") or not parts.hostname or port == 0:
        raise BadWebhook("its address must begin with https:// and a host")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise BadWebhook("its address may have neither a user nor a fragment")
    return parts


def _public(address: Address) -> bool:
    given_out = address.version == 4 or address in _UNICAST
    return given_out and address.is_global and not address.is_multicast


def _in(address: Address, those: tuple[Network, ...]) -> bool:
    return any(address in each for each in those if each.version == address.version)


def _embedded(address: Address) -> Address:
    """The IPv4 address that an IPv6 one leads to, if it does."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address
