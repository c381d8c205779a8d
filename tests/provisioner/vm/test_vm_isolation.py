"""A build tries to get out of its machine: to the host, its neighbours, a metadata service."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from vmkit.machines import becomes, folder_of, needs_qemu, prints, reached

from torpor_provisioner.contract import MachineState
from torpor_provisioner.errors import Invalid
from torpor_provisioner.vm import qemu
from torpor_provisioner.vm.network import network

pytestmark = [needs_qemu, pytest.mark.timeout(600)]
HOST = "10.0.2.2"  # as QEMU's user network calls the host's loopback
METADATA = "169.254.169.254"
OWN = """
cat /etc/machine-id /run/torpor/boot-id /run/torpor/launch-token
head -c 16 /dev/urandom | md5sum
"""


def own_address() -> str:
    """This machine's own, as others see it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            asked.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            return "127.0.0.1"
        return str(asked.getsockname()[0])


async def test_a_build_reaches_nobody(vm, spec, monkeypatch):
    one = vm()
    neighbour = await one.launch(spec(), "neighbour")
    ref = await one.launch(spec(), "build")
    other = await becomes(one, neighbour, MachineState.RUNNING)
    mine = await becomes(one, ref, MachineState.RUNNING)
    assert other.address is not None
    assert other.identity is not None
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
        places = [
            f"{HOST}:{port}",
            f"{own_address()}:{port}",
            f"{HOST}:{other.address.port}",
            f"{HOST}:{other.identity.port}",
            "10.0.2.3:53",
            f"{METADATA}:80",
        ]
        assert await reached(mine, *places, "10.0.2.15:8372") == ["10.0.2.15:8372"], "itself alone"
        # The same try in a network that is open shows that it would have found them.
        monkeypatch.setattr(qemu, "network", lambda *ports, **_: network(*ports, is_open=True))
        open_one = await one.launch(spec(), "open")
        seen = await becomes(one, open_one, MachineState.RUNNING)
        assert await reached(seen, places[0], places[2]) == [places[0], places[2]]


async def test_a_machine_that_could_not_boot_is_refused_beforehand(vm, spec):
    with pytest.raises(Invalid, match="need 128 MiB"):
        await vm(size="1x64M").launch(spec(), "token")


async def test_a_hypervisor_has_nothing_of_the_routers(vm, spec, tmp_path: Path, monkeypatch):
    """Neither its environment, nor a terminal, nor a way to start programs."""
    monkeypatch.setenv("TORPOR_DATABASE_URL", "postgresql://secret")
    one = vm()
    ref = await one.launch(spec(), "token")
    await becomes(one, ref, MachineState.RUNNING)
    pid = int((folder_of(tmp_path, ref) / "qemu.pid").read_text())
    process = Path(f"/proc/{pid}")
    assert b"secret" not in (process / "environ").read_bytes()
    status = dict(
        line.split(":\t", 1)
        for line in (process / "status").read_text().splitlines()
        if ":\t" in line
    )
    assert status["Seccomp"] == "2", "its system calls are filtered"
    assert status["NoNewPrivs"] == "1"
    opened = {str(file.readlink()) for file in (process / "fd").iterdir()}
    inside = str(folder_of(tmp_path, ref))
    files = {path for path in opened if path.startswith("/") and not path.startswith("/dev/")}
    images = {path for path in files if not path.startswith(inside)}
    assert all("/tiny-" in path for path in images), images
    assert os.getsid(pid) != os.getsid(0), "a Ctrl-C meant for the router is not meant for it"


async def test_copies_of_one_snapshot_have_nothing_in_common(vm, spec):
    """Each is told its own name, boot and random seed before anyone sees it run."""
    one = vm()
    said = []
    for token in ("one", "other"):
        ref = await one.launch(spec(), token)
        seen = await becomes(one, ref, MachineState.RUNNING)
        said.append(await prints(seen, "sh", "-c", OWN))
    assert [len(lines) for lines in said] == [4, 4]
    assert not set(said[0]) & set(said[1])
