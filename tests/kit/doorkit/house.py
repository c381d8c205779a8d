"""A door, and what it is made of."""

from __future__ import annotations

from dataclasses import dataclass

import grpc
from doorkit.echo import UNLIMITED
from doorkit.fakes import FakeDirectory, FakeGate

from torpor_provisioner.contract import Address
from torpor_router.door import Door


@dataclass
class House:
    """A door and what it is made of."""

    door: Door
    gate: FakeGate
    directory: FakeDirectory
    address: Address

    @property
    def target(self) -> str:
        return f"{self.address.host}:{self.address.port}"

    def channel(self, **options: int | str) -> grpc.aio.Channel:
        return grpc.aio.insecure_channel(
            self.target,
            options=[*UNLIMITED, ("grpc.use_local_subchannel_pool", 1), *options.items()],
        )
