"""Other accounts of this machine do not reach a satellite's worker past the door."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from localkit.machines import becomes, folder_of, observe
from waiting import until

from torpor_provisioner.contract import Address, MachineState, SleepKind
from torpor_provisioner.local import LocalProvisioner, LocalSettings, sockets
from torpor_provisioner.local.settings import WorkerCommand
from torpor_provisioner.sample.client import info
from torpor_router.names import written_address

NOBODY = 65534
BECOME_NOBODY = f"import os, socket, sys; os.setresuid({NOBODY}, {NOBODY}, {NOBODY})"
only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
# A worker that listens where it is told to, and writes down where that was
LISTENER = f"""{sys.executable} -c '
import socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
open(sys.argv[2] + "/ready", "w").close()
while True: listener.accept()[0].close()
' {{socket}} {{data}}"""


@pytest.fixture
async def shared(open_folder: Path) -> AsyncIterator[LocalProvisioner]:
    """Its data folder lies where every account may enter; what it launched is ended."""
    os.umask(mask := os.umask(0))
    os.umask(0)  # nothing may hang on it
    provisioner = LocalProvisioner(open_folder / "local", LocalSettings())
    yield provisioner
    os.umask(mask)
    for ref in await provisioner.owned():
        await provisioner.terminate(ref)
    await provisioner.aclose()


async def listens(provisioner: LocalProvisioner, ref: str) -> Address:
    address = (await observe(provisioner, ref)).address
    assert address is not None
    async with grpc.aio.insecure_channel(written_address(address)) as channel:
        await asyncio.wait_for(channel.channel_ready(), 60)
        await info(channel)
    return address


def as_nobody(script: str, *arguments: object) -> str:
    return subprocess.run(
        [sys.executable, "-c", f"{BECOME_NOBODY}\n{script}", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    ).stderr


@only_root
async def test_another_account_cannot_connect_to_the_sample_worker(
    shared: LocalProvisioner, spec, open_folder: Path
) -> None:
    address = await listens(shared, await shared.launch(spec(), "token"))
    assert address.is_path
    assert address.host.startswith(str(open_folder)), "the path is short enough here"
    connect = "socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
    assert "PermissionError" in as_nobody(connect, address.host)


async def test_the_sample_worker_listens_on_no_port(shared: LocalProvisioner, spec) -> None:
    ref = await shared.launch(spec(), "token")
    await listens(shared, ref)
    record = (shared.folder / "machines" / ref / "machine.json").read_text()
    port = int(record.split('"port": ')[1].split(",")[0])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


async def test_a_folder_may_have_any_name(open_folder: Path, spec) -> None:
    """gRPC reads an address as a URI."""
    provisioner = LocalProvisioner(open_folder / "a b#c?%41{}'")
    try:
        address = await listens(provisioner, await provisioner.launch(spec(), "token"))
        assert "a b#c?%41{}'" in address.host
        assert Path(address.host).is_socket()
    finally:
        for ref in await provisioner.owned():
            await provisioner.terminate(ref)
        await provisioner.aclose()


async def test_a_folder_whose_path_is_too_long_gets_a_short_one(
    local, spec, tmp_path: Path
) -> None:
    (tmp_path / "local").symlink_to(deep := tmp_path / ("x" * 80))
    deep.mkdir()
    provisioner = local()
    ref = await provisioner.launch(spec(), "token")
    first = await listens(provisioner, ref)
    assert len(first.host) <= sockets.LONGEST
    private = Path(first.host).parent
    assert private.stat().st_mode & 0o777 == 0o700
    await stopped_and_woken(provisioner, ref)
    assert await listens(provisioner, ref) == first, "an address is for life"

    private.rename(elsewhere := private.with_name("torpor-elsewhere-" + private.name))
    private.symlink_to(elsewhere)  # another account may have been faster, after a clean-up of /tmp
    await stopped_and_woken(provisioner, ref)
    second = await listens(provisioner, ref)
    assert Path(second.host).parent not in (private, elsewhere)
    private.unlink()
    elsewhere.rename(private)

    await provisioner.terminate(ref)
    assert not Path(second.host).parent.exists()
    for left in private.iterdir():
        left.unlink()
    private.rmdir()


async def test_a_worker_that_is_killed_leaves_no_socket_in_the_way(
    local, spec, tmp_path: Path
) -> None:
    provisioner = local(LISTENER)
    ref = await provisioner.launch(spec(), "token")
    ready = folder_of(tmp_path, ref) / "data" / "ready"
    for _ in range(2):
        await until(ready.exists)
        ready.unlink()
        await stopped_and_woken(provisioner, ref)


async def test_a_worker_started_before_there_were_sockets_keeps_its_port(
    local, spec, tmp_path: Path
) -> None:
    provisioner = local("sleep 100000")
    ref = await provisioner.launch(spec(), "token")
    before = (await observe(provisioner, ref)).address
    assert before is not None
    assert not before.is_path
    (folder_of(tmp_path, ref) / "address.json").unlink()  # that version wrote none
    now = local()
    assert (await observe(now, ref)).address == before
    await stopped_and_woken(now, ref)
    assert (await listens(now, ref)).is_path


async def stopped_and_woken(provisioner: LocalProvisioner, ref: str) -> None:
    await provisioner.sleep(ref, SleepKind.STOPPED)
    await becomes(provisioner, ref, MachineState.ASLEEP)
    await provisioner.wake(ref)


def test_a_command_may_name_both() -> None:
    command = WorkerCommand.parse("serve --socket {socket} --port {port}")
    assert command.on_socket
    assert command.fill(Address("/run/w", 0), Path("/d"))[2] == "/run/w"
