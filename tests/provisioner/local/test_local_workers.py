"""What a worker is given: an environment, limits, a port and a folder of its own."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from localkit.machines import IDLE, becomes, folder_of, observe
from waiting import until

from torpor_provisioner.contract import MachineState, SleepKind
from torpor_provisioner.errors import Capacity, Invalid


async def test_a_bad_configuration_is_refused_before_anything_is_made(local, spec) -> None:
    provisioner = local("no-such-program {port}")
    with pytest.raises(Invalid, match="no-such-program"):
        await provisioner.launch(spec(), "token")
    with pytest.raises(Invalid, match="no worker 'grid'"):
        await provisioner.launch(spec(worker="grid"), "token")
    assert await provisioner.owned() == {}


async def test_the_worker_gets_no_secret_of_the_node(
    local, spec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORPOR_DATABASE_URL", "postgres://secret")
    provisioner = local("sh -c 'env >env.new; mv env.new env; exec sleep 100000'")
    ref = await provisioner.launch(spec(name="two"), "token")
    told = folder_of(tmp_path, ref) / "data" / "env"
    await until(told.exists)
    environment = dict(line.partition("=")[::2] for line in told.read_text().splitlines())
    assert "TORPOR_DATABASE_URL" not in environment
    assert environment["TORPOR_SATELLITE"] == "acme/two"
    assert environment["TORPOR_DATA"] == str(told.parent)
    address = (await observe(provisioner, ref)).address
    assert address is not None
    assert (environment["TORPOR_HOST"], int(environment["TORPOR_PORT"])) == address


async def test_niceness_and_memory_are_limited(local, spec, tmp_path: Path) -> None:
    provisioner = local(
        "sh -c '(nice; ulimit -v) >told.new; mv told.new told; exec sleep 100000'",
        nice=7,
        memory=1 << 30,
    )
    ref = await provisioner.launch(spec(), "token")
    told = folder_of(tmp_path, ref) / "data" / "told"
    await until(told.exists)
    assert told.read_text().split() == [str(os.nice(0) + 7), str(1 << 20)]


async def test_ports_are_kept_and_never_shared(local, spec) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        taken = holder.getsockname()[1]
        provisioner = local(IDLE, ports=range(taken, taken + 1))
        with pytest.raises(Capacity, match="no port"):
            await provisioner.launch(spec(), "token")
    await provisioner.launch(spec(), "token")  # free again
    with pytest.raises(Capacity):
        await provisioner.launch(spec(name="two"), "another")
    assert len(await provisioner.owned()) == 1


@pytest.mark.parametrize("ref", ["..", "../machines", "", "local-0", "/etc", "local-" + "g" * 16])
async def test_a_ref_is_never_taken_for_a_path(local, spec, ref: str) -> None:
    provisioner = local(IDLE)
    kept = await provisioner.launch(spec(), "token")
    await provisioner.terminate(ref)
    assert (await observe(provisioner, ref)).state is MachineState.GONE
    assert kept in await provisioner.owned()


async def test_terminate_removes_what_cannot_be_written(local, spec, tmp_path: Path) -> None:
    provisioner = local("sh -c 'mkdir -p a/b; touch a/b/c; chmod 500 a/b a; exec sleep 100000'")
    ref = await provisioner.launch(spec(), "token")
    await until((folder_of(tmp_path, ref) / "data/a/b/c").exists)
    await provisioner.terminate(ref)
    assert not list(tmp_path.rglob("data"))


async def test_a_long_log_is_put_aside(local, spec, tmp_path: Path) -> None:
    provisioner = local(IDLE)
    ref = await provisioner.launch(spec(), "token")
    folder = folder_of(tmp_path, ref)
    (folder / "log").write_bytes(bytes(2 << 20))
    await provisioner.sleep(ref, SleepKind.STOPPED)
    await becomes(provisioner, ref, MachineState.ASLEEP)
    await provisioner.wake(ref)
    assert (folder / "log").stat().st_size == 0
    assert (folder / "log.1").stat().st_size == 2 << 20
