"""Which machine a local worker is of, and whether it has kept its memory: its keeper says so."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from localkit.machines import IDLE, becomes, observe

from torpor_provisioner import identity
from torpor_provisioner.contract import Identity, MachineState, SleepKind
from torpor_provisioner.local import LocalProvisioner
from torpor_provisioner.local.settings import LocalSettings, WorkerCommand

TIMEOUT = 30.0


@pytest.fixture(params=["short", "too long for a socket"])
async def provisioner(request: pytest.FixtureRequest) -> AsyncIterator[LocalProvisioner]:
    with tempfile.TemporaryDirectory(prefix="torpor-") as folder:  # pytest's own is long
        deep = "d" * 60 if request.param != "short" else "d"
        settings = LocalSettings(workers={"default": WorkerCommand.parse(IDLE)})
        made = LocalProvisioner(Path(folder) / deep, settings)
        yield made
        for ref in await made.owned():
            await made.terminate(ref)
        await made.aclose()


short = pytest.mark.parametrize("provisioner", ["short"], indirect=True)


async def _says(provisioner: Any, ref: str) -> Identity:
    """The socket is made beside the worker, some milliseconds after it."""
    async with asyncio.timeout(60):
        while True:
            where = (await observe(provisioner, ref)).identity
            told = await identity.read(where, TIMEOUT) if where is not None else None
            if told is not None:
                return told
            await asyncio.sleep(0.01)


@short
async def test_a_sleep_that_keeps_memory_keeps_the_boot(provisioner, spec) -> None:
    wanted = spec()
    ref = await provisioner.launch(wanted, wanted.launch_token)
    first = await _says(provisioner, ref)
    assert first.launch_token == wanted.launch_token
    boots = []
    for how in (SleepKind.HIBERNATED, SleepKind.STOPPED):
        await provisioner.sleep(ref, how)
        await becomes(provisioner, ref, MachineState.ASLEEP)
        assert (await observe(provisioner, ref)).identity is None
        await provisioner.wake(ref)
        await becomes(provisioner, ref, MachineState.RUNNING)
        boots.append(await _says(provisioner, ref))
    frozen, stopped = boots
    assert frozen.boot_id == first.boot_id
    assert frozen.uptime >= first.uptime
    assert stopped.boot_id != first.boot_id
    assert stopped.launch_token == first.launch_token


@short
async def test_a_worker_cannot_speak_for_its_keeper(provisioner, spec) -> None:
    """The socket is not in a folder of the worker's."""
    ref = await provisioner.launch(spec(), "token")
    await _says(provisioner, ref)
    assert (provisioner.folder / "machines" / ref / "identity").is_socket()


@short
async def test_callers_that_hang_up_or_read_nothing_silence_nobody(provisioner, spec) -> None:
    ref = await provisioner.launch(spec(), "token")
    await _says(provisioner, ref)
    where = (await observe(provisioner, ref)).identity
    assert where is not None
    open_ones = [await asyncio.open_unix_connection(where.host) for _ in range(20)]
    for _, writer in open_ones[:10]:
        writer.transport.abort()
    assert await identity.read(where, TIMEOUT) is not None
    for _, writer in open_ones:
        writer.transport.abort()


@pytest.mark.parametrize("provisioner", ["too long for a socket"], indirect=True)
async def test_a_path_that_is_too_long_says_nothing(provisioner, spec) -> None:
    ref = await provisioner.launch(spec(), "token")
    seen = await becomes(provisioner, ref, MachineState.RUNNING)
    assert seen.identity is None
