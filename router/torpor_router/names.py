"""The grammar of what people write: names, addresses and tokens; and the ports they need not write.

The name of a satellite is the lifecycle's (`torpor_statemachine.lifecycle.specs`); an org's is of
the same form.
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import quote

from torpor_provisioner.contract import Address
from torpor_statemachine.lifecycle.specs import is_name

__all__ = [
    "DEFAULT_DOOR_PORT",
    "DEFAULT_METRICS_PORT",
    "DEFAULT_STATUS_PORT",
    "EVERY_ADDRESS",
    "LONGEST_TOKEN",
    "is_name",
    "read_address",
    "stays_here",
    "written_address",
]

DEFAULT_DOOR_PORT = 8372
DEFAULT_METRICS_PORT = 9372
DEFAULT_STATUS_PORT = 8373
LONGEST_TOKEN = 4_096  # octets
EVERY_ADDRESS = "0.0.0.0"  # noqa: S104 - what ":8372" means

_ADDRESS = re.compile(r"(?:\[(?P<v6>[^\[\]]+)\]|(?P<host>[^\[\]:]*))(?::(?P<port>.*))?", re.DOTALL)


def read_address(text: str, default_port: int) -> Address:
    """Read ``host:port``, ``[v6]:port``, ``:port`` (every IPv4 address), ``host`` or ``v6``.

    Raises:
        ValueError: it is none of these; the message quotes it.
    """
    if _is_ipv6(text):
        return Address(text, default_port)
    found = _ADDRESS.fullmatch(text)
    if not text or found is None or (found["v6"] and not _is_ipv6(found["v6"])):
        raise ValueError(f"cannot read the address {text!r}")
    port = found["port"]
    if port is None:
        port = str(default_port)
    if not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise ValueError(f"cannot read the port of {text!r}")
    return Address(found["v6"] or found["host"] or EVERY_ADDRESS, int(port))


def written_address(address: Address) -> str:
    """``host:port``, which `read_address` reads back, or ``unix:/path``, quoted as in a URI.

    An IPv6 host stands in brackets. It is a target for gRPC as it is.
    """
    if address.is_path:
        return f"unix:{quote(address.host)}"
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def stays_here(host: str) -> bool:
    """Whether what is said to `host` never leaves the machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_ipv6(text: str) -> bool:
    if "[" in text or "]" in text:  # a zone (RFC 4007) may have any character, for `ipaddress`
        return False
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True
