"""What recipes are made of, and what they are."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from shlex import quote

from torpor_provisioner.contract import Address
from torpor_router.names import written_address

SYSTEM_CA = "/etc/ssl/certs/ca-certificates.crt"  # of Debian, Ubuntu, Alpine
TOKEN = "$TORPOR_TOKEN"  # noqa: S105 - a variable's name: no recipe has the token itself
YOUR_TOKEN = f"{TOKEN} is your token."
_LONGEST_LABEL = 63  # octets (RFC 1035 section 2.3.4)


@dataclass(frozen=True, slots=True)
class Way:
    """How a satellite is reached. Files are paths as the client is given them.

    `ca` is empty where the system's authorities are believed. The certificate and its key are
    PREFIX.pem and PREFIX.key, `prefix` being PREFIX.
    """

    org: str
    name: str
    address: Address
    domain: str
    tls: bool = True
    ca: str = ""
    prefix: str = "client"

    @property
    def target(self) -> str:
        return written_address(self.address)

    @property
    def server_name(self) -> str:
        """NAME--ORG.DOMAIN; the domain alone where that is no host name for its length.

        The certificate says which satellite is meant, too.
        """
        label = f"{self.name}--{self.org}"
        return f"{label}.{self.domain}" if len(label) <= _LONGEST_LABEL else self.domain

    @property
    def certificate(self) -> str:
        return f"{self.prefix}.pem"

    @property
    def key(self) -> str:
        return f"{self.prefix}.key"


@dataclass(frozen=True, slots=True)
class Recipe:
    """What one client is given. `commands` are lines for a shell, or for a CI system's file.

    `headers` and `commands` name the token as $TORPOR_TOKEN.
    """

    client: str
    satellite: str
    address: str
    server_name: str
    commands: str
    notes: tuple[str, ...]
    headers: dict[str, str] = field(default_factory=dict)
    ca: str = ""
    certificate: str = ""
    key: str = ""


def headers_of(way: Way) -> dict[str, str]:
    return {"satellite": f"{way.org}/{way.name}", "authorization": f"Bearer {TOKEN}"}


def whole_path(path: str) -> str:
    """A path in double quotes, from the root; of the folder that the shell is in, if relative."""
    escaped = re.sub(r'([\\"$`])', r"\\\1", path)
    return f'"{escaped}"' if path.startswith("/") else f'"$PWD/{escaped}"'


def command(*words: str) -> str:
    """A command on lines of their own, each word as it is written for a shell."""
    return " \\\n    ".join(words)


def option(name: str, value: str) -> str:
    return f"{name} {quote(value)}"
