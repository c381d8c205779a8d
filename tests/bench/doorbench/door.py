"""The door by itself: a gate and a directory in memory, for profiles of the relay alone."""

from __future__ import annotations

import asyncio
import hashlib
import sys
from collections.abc import Callable, Set
from pathlib import Path
from uuid import UUID

import uvloop
from doorbench.subject import LOOK, SATELLITE, TOKEN

from torpor_provisioner.contract import Address
from torpor_router.door import Door
from torpor_router.errors import NoCredentials
from torpor_router.limits import Limits
from torpor_router.routing import Ask, Certificate, Route
from torpor_router.serve.garbage import collect_rarely
from torpor_router.transport.tls import ServerTls, TlsFiles
from torpor_statemachine.gate import Admitted, Outlook
from torpor_statemachine.lifecycle.departure import Departure
from torpor_statemachine.lifecycle.states import WakeKind

_ID = UUID(int=1)
_KNOWN = {hashlib.sha256(TOKEN.encode()).digest(): SATELLITE}


class Gate:
    def __init__(self, address: Address, asleep: Path) -> None:
        self._admitted = Admitted(address, epoch=1)
        self._asleep = asleep
        self._awake = asyncio.Event()
        self._awake.set()
        self.inside = 0

    async def watch(self) -> None:
        while True:
            if self._asleep.exists():
                self._awake.clear()
            else:
                self._awake.set()
            await asyncio.sleep(LOOK)

    def enter(self, satellite_id: UUID) -> Admitted | None:
        if not self._awake.is_set():
            return None
        self.inside += 1
        return self._admitted

    async def admit(self, satellite_id: UUID, *, actor: str, budget: float) -> Admitted:
        async with asyncio.timeout(budget):
            await self._awake.wait()
        self.inside += 1
        return Admitted(self._admitted.address, 1, WakeKind.RESUMED)

    def running_now(self, satellite_id: UUID) -> Admitted | None:
        return self._admitted if self._awake.is_set() else None

    async def running(self, satellite_id: UUID) -> Admitted | None:
        return self.running_now(satellite_id)

    def outlook(self, satellite_id: UUID) -> Outlook | None:
        return None

    def leave(self, satellite_id: UUID) -> None:
        self.inside -= 1

    def suspect(self, satellite_id: UUID) -> None:
        """Its worker is there."""

    def on_sleep(self, told: Callable[[Departure], None]) -> None:
        """Nobody falls asleep by himself here."""


class Directory:
    def route_now(self, ask: Ask) -> Route | None:
        if ask.token_hash is None:
            return None
        if _KNOWN.get(ask.token_hash) != f"{ask.org}/{ask.satellite}":
            return None
        return Route(_ID, ask.org, ask.satellite, "bench")

    def on_refused(
        self, on_refused: Callable[[Set[str]], None], needed: Callable[[], bool] = bool
    ) -> None:
        """No certificate is revoked here."""

    def is_refused(self, certificate: Certificate) -> bool:
        return False

    async def route(self, ask: Ask, peer: str, token: object) -> Route:
        route = self.route_now(ask)
        if route is None:
            raise NoCredentials
        return route


async def main(plain: int, tls: int, worker: int, chain: Path, key: Path, asleep: Path) -> None:
    gate = Gate(Address("127.0.0.1", worker), asleep)
    limits = Limits(
        connections_per_caller=100_000,
        held_per_satellite=20_000,
        held_per_node=20_000,
        strangers_per_address=100_000,
    )

    def door(certificate: ServerTls | None = None) -> Door:
        return Door(
            gate=gate,
            directory=Directory(),
            own=Address("127.0.0.1", 1),
            limits=limits,
            tls=certificate,
        )

    await door().listen("127.0.0.1", plain)
    await door(ServerTls(TlsFiles(chain, key))).listen("127.0.0.1", tls)
    await gate.watch()


if __name__ == "__main__":
    plain, tls, worker, *files = sys.argv[1:]
    collect_rarely()
    uvloop.run(main(int(plain), int(tls), int(worker), *map(Path, files)))
