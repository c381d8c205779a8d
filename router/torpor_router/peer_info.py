"""What the door tells the node's own gRPC services about a call: metadata keys that it adds.

The services listen where only the door can reach them, and the door removes these keys from what
a client sent. So a service can trust what it reads here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from torpor_router.h2.blocks import encode

_ADDRESS = "x-torpor-peer"
_ORG = "x-torpor-certificate-org"
_SATELLITE = "x-torpor-satellite-id"
KEYS = frozenset((_ADDRESS.encode(), _ORG.encode(), _SATELLITE.encode()))


@dataclass(frozen=True, slots=True)
class PeerInfo:
    """`address` is the client's host and port, `org` the org of its certificate if it has one.

    `satellite_id` is that of a satellite in whose place the node answers; the caller may see it.
    """

    address: str = ""
    org: str | None = None
    satellite_id: UUID | None = None

    @property
    def host(self) -> str:
        return self.address.rpartition(":")[0] or self.address

    def encoded(self) -> bytes:
        """The keys as part of a header block (RFC 7541 section 6.2.2)."""
        keys = [(_ADDRESS.encode(), self.address.encode())]
        if self.org is not None:
            keys.append((_ORG.encode(), self.org.encode()))
        if self.satellite_id is not None:
            keys.append((_SATELLITE.encode(), str(self.satellite_id).encode()))
        return encode(tuple(keys))

    @classmethod
    def read(cls, metadata: Mapping[str, str | bytes]) -> PeerInfo:
        """What a call's metadata says; empty where the call did not come through a door."""
        org, satellite_id = metadata.get(_ORG), metadata.get(_SATELLITE)
        return cls(
            str(metadata.get(_ADDRESS, "")),
            None if org is None else str(org),
            None if satellite_id is None else UUID(str(satellite_id)),
        )


UNKNOWN_PEER = PeerInfo()
