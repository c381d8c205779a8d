"""What the door tells the node's own gRPC services about a client: two metadata keys that it adds.

The services listen where only the door can reach them, and the door removes these keys from what
a client sent. So a service can trust what it reads here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torpor_router.h2.blocks import encode

_ADDRESS = "x-torpor-peer"
_ORG = "x-torpor-certificate-org"
KEYS = frozenset((_ADDRESS.encode(), _ORG.encode()))


@dataclass(frozen=True, slots=True)
class PeerInfo:
    """`address` is the client's host and port, `org` the org of its certificate if it has one."""

    address: str = ""
    org: str | None = None

    @property
    def host(self) -> str:
        return self.address.rpartition(":")[0] or self.address

    def encoded(self) -> bytes:
        """The keys as part of a header block (RFC 7541 section 6.2.2)."""
        keys = [(_ADDRESS.encode(), self.address.encode())]
        if self.org is not None:
            keys.append((_ORG.encode(), self.org.encode()))
        return encode(tuple(keys))

    @classmethod
    def read(cls, metadata: Mapping[str, str | bytes]) -> PeerInfo:
        """What a call's metadata says; empty where the call did not come through a door."""
        org = metadata.get(_ORG)
        return cls(str(metadata.get(_ADDRESS, "")), None if org is None else str(org))


UNKNOWN_PEER = PeerInfo()
