"""What a node adds to one wake: the whole, less what the machine and its worker take."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

from ec2bench.stage import SIZE, START, Ec2

from torpor_provisioner.contract import Address
from torpor_provisioner.ec2 import Ec2Provisioner
from torpor_provisioner.ec2.environment import settings_from
from torpor_provisioner.faithful_ec2.playing import played
from torpor_router.h2.wire import PREFACE, settings
from torpor_router.probe import answers
from torpor_statemachine.fleet import Fleet
from torpor_statemachine.lifecycle.specs import NewSatellite
from torpor_statemachine.lifecycle.states import SleepMode, State
from torpor_statemachine.postgres.embedded import EmbeddedPostgres
from torpor_statemachine.postgres.migrate import migrate
from torpor_statemachine.postgres.pool import Database

SPEED = 10.0  # EC2's time against ours, for the wakes: they take 0.9 s then, not 9 s


@dataclass(frozen=True)
class Wake:
    """Seconds: of the whole, and of that the machine's and its worker's own."""

    whole: float
    own: float

    @property
    def added(self) -> float:
        return self.whole - self.own


async def wakes(folder: Path, number: int, mode: SleepMode) -> list[Wake]:
    timing = {"young": 0.0}
    with played(folder / "machines", speed=SPEED, timing=timing) as environ:
        os.environ.update(environ)
        ec2 = Ec2(environ)
        provisioner = Ec2Provisioner(settings_from(environ))
        async with _fleet(folder, provisioner) as (fleet, org_id):
            new = NewSatellite(
                org_id=org_id,
                name=str(mode),
                provisioner="ec2",
                size=SIZE,
                sleep_mode=mode,
                sleep_after=timedelta(hours=1),
            )
            satellite = await fleet.launch(new, actor="bench")
            address = await _admitted(fleet, satellite.id)
            measured = []
            for _ in range(number):
                await fleet.sleep(satellite.id, actor="bench")
                await _reaches(fleet, satellite.id, State.ASLEEP)
                measured.append(await _wake(ec2, fleet, satellite.id, address))
            return measured


async def _wake(ec2: Ec2, fleet: Fleet, satellite_id: UUID, address: Address) -> Wake:
    since = time.monotonic()
    first = _FirstAnswer(address)
    await _admitted(fleet, satellite_id)
    whole = time.monotonic() - since
    answered = await asyncio.to_thread(first.at)
    [start] = [call for call in ec2.calls(since, START) if call["effective"]]
    return Wake(whole, answered - start["at"])


class _FirstAnswer:
    """Asks a worker again and again, in a thread, to learn the very moment it can answer."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._at = 0.0
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()

    def at(self) -> float:
        self._thread.join()
        return self._at

    def _ask(self) -> None:
        while not self._at:
            with (
                suppress(OSError),
                socket.create_connection(self._address, timeout=60.0) as connection,
            ):
                connection.sendall(PREFACE + settings(()))
                if connection.recv(9):
                    self._at = time.monotonic()
            time.sleep(0.005)


async def _admitted(fleet: Fleet, satellite_id: UUID) -> Address:
    admitted = await fleet.admit(satellite_id, actor="bench", budget=120.0)
    fleet.leave(satellite_id)
    return admitted.address


async def _reaches(fleet: Fleet, satellite_id: UUID, state: State) -> None:
    async for satellite in fleet.follow(satellite_id):
        if satellite.state is state:
            return


@asynccontextmanager
async def _fleet(folder: Path, provisioner: Ec2Provisioner) -> AsyncIterator[tuple[Fleet, UUID]]:
    async with EmbeddedPostgres(folder / "postgres").running() as url:
        await migrate(url)
        async with Database(url) as database:
            org_id = uuid4()
            await database.execute("insert into orgs (id, name) values ($1, 'bench')", org_id)
            fleet = Fleet(database, {"ec2": provisioner}, probe=answers)
            await fleet.start()
            try:
                yield fleet, org_id
            finally:
                await fleet.aclose()
                await provisioner.aclose()
