"""A faithful EC2 in a process of its own, with real workers that live and die as machines do."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from waiting import LONG, until

from torpor_provisioner import identity, registry
from torpor_provisioner.contract import Address, MachineState, SleepKind
from torpor_provisioner.contract import Identity as Told
from torpor_provisioner.ec2 import Ec2Provisioner
from torpor_provisioner.errors import NotInstalled, NotReady
from torpor_provisioner.faithful_ec2.machine import Order
from torpor_provisioner.faithful_ec2.playing import played
from torpor_provisioner.faithful_ec2.workers import ProcessWorkers
from torpor_provisioner.local import processes
from torpor_provisioner.local.processes import Identity
from torpor_provisioner.local.tree import Tree
from torpor_provisioner.local.worker import Worker
from torpor_provisioner.sample.v1 import builder_pb2 as pb
from torpor_provisioner.sample.v1 import builder_pb2_grpc as rpc

# A tenth of a second for what is a second in EC2; machines may hibernate at once.
FAST: dict[str, Any] = {"speed": 20.0, "timing": {"young": 0.0, "boot": 1.0}}


@pytest.fixture
def environ(tmp_path: Path) -> Iterator[dict[str, str]]:
    with played(tmp_path / "machines", **FAST) as environ:
        yield environ
    for leader in _leaders(tmp_path / "machines"):
        assert processes.find(leader) is None, "when it ends so do the workers"


@pytest.fixture
async def one(
    environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Ec2Provisioner]:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    made = registry.create("ec2", environ | {"TORPOR_EC2_PACE": "0.1"}, tmp_path)
    assert isinstance(made, Ec2Provisioner)
    yield made
    await made.aclose()


def _machines(environ: dict[str, str], word: str = "machines") -> Any:
    with urllib.request.urlopen(f"{environ['TORPOR_EC2_ENDPOINT']}/faithful/{word}") as answer:
        return json.load(answer)


def _fault(environ: dict[str, str], **fault: Any) -> None:
    headers = {"Content-Type": "application/json"}
    url = f"{environ['TORPOR_EC2_ENDPOINT']}/faithful/faults"
    asked = urllib.request.Request(url, json.dumps(fault).encode(), headers, method="POST")
    with urllib.request.urlopen(asked):
        pass


async def _info(address: Address) -> pb.InfoReply:
    async with grpc.aio.insecure_channel(f"{address.host}:{address.port}") as channel:
        return await rpc.BuilderStub(channel).Info(
            pb.InfoRequest(), wait_for_ready=True, timeout=LONG
        )


def _leaders(folder: Path) -> list[Identity]:
    stored = (json.loads(file.read_text()) for file in folder.glob("*/process.json"))
    return [Identity(**one) for one in stored]


async def _told(one: Ec2Provisioner, ref: str) -> Told:
    """What a running machine says of itself, once it does."""
    async with asyncio.timeout(LONG):
        while True:
            at = (await one.observe([ref]))[ref].identity
            told = await identity.read(at, LONG) if at is not None else None
            if told is not None:
                return told
            await asyncio.sleep(0.02)


async def test_a_machine_tells_its_launch_and_another_boot_once_its_memory_is_lost(
    one, spec, drive, environ
) -> None:
    wanted = spec(size="t3.nano")
    ref = await drive.running(one, wanted)
    launched = await _told(one, ref)
    assert launched.launch_token == wanted.launch_token

    async def woken_from(how: SleepKind) -> Told:
        await drive.ready(one.sleep, ref, how)
        await drive.becomes(one, ref, MachineState.ASLEEP)
        await one.wake(ref)
        await drive.becomes(one, ref, MachineState.RUNNING)
        return await _told(one, ref)

    resumed = await woken_from(SleepKind.HIBERNATED)
    assert resumed.boot_id == launched.boot_id
    assert resumed.uptime > launched.uptime
    started = await woken_from(SleepKind.STOPPED)
    assert started.boot_id != launched.boot_id
    _fault(environ, action="StopInstances", effect="shut-down")
    again = await woken_from(SleepKind.HIBERNATED)
    assert again.boot_id not in {launched.boot_id, started.boot_id}
    assert again.launch_token == wanted.launch_token


async def test_a_worker_lives_as_its_machine_does(one, spec, drive, environ, tmp_path) -> None:
    ref = await drive.running(one, spec(size="t3.nano"))
    address = (await one.observe([ref]))[ref].address
    assert address.host.startswith("127.")
    assert address.host != "127.0.0.1"
    first = await _info(address)

    await one.sleep(ref, SleepKind.HIBERNATED)
    seen = await drive.becomes(one, ref, MachineState.ASLEEP)
    assert seen.sleep_kind is SleepKind.HIBERNATED
    [leader] = _leaders(tmp_path / "machines")
    process = processes.find(leader)
    assert process is not None
    assert process.frozen

    await one.wake(ref)
    resumed = await _info(address)
    assert resumed.booted_at == first.booted_at, "its memory was kept"

    await drive.becomes(one, ref, MachineState.RUNNING)
    await one.sleep(ref, SleepKind.STOPPED)
    await drive.becomes(one, ref, MachineState.ASLEEP)
    assert processes.find(leader) is None
    await one.wake(ref)
    started = await _info(address)
    assert started.booted_at != first.booted_at, "it was started anew"
    assert (await one.observe([ref]))[ref].address == address

    [told] = _machines(environ)
    assert (told["phase"], told["starts"]) == ("running", 2)
    actions = [call["action"] for call in _machines(environ, "calls") if call["effective"]]
    assert actions == [
        "RunInstances",
        *("StopInstances", "StartInstances"),
        *("StopInstances", "StartInstances"),
    ]

    await one.terminate(ref)
    await drive.becomes(one, ref, MachineState.GONE)
    await _gone(_leaders(tmp_path / "machines"))
    await drive.running(one, spec(size="t3.nano"))


@pytest.mark.parametrize("last", [Order.BOOT, Order.FREEZE])
async def test_when_their_server_is_killed_the_workers_end(tmp_path: Path, last: Order) -> None:
    """Nothing but the end of a pipe tells the warden."""
    program = (
        "import time; from pathlib import Path\n"
        "from torpor_provisioner.faithful_ec2.machine import Order\n"
        "from torpor_provisioner.faithful_ec2.workers import ProcessWorkers\n"
        "from torpor_provisioner.local.settings import WorkerCommand\n"
        f"folder, command = Path({str(tmp_path)!r}), WorkerCommand.parse('sleep 100000')\n"
        "workers = ProcessWorkers(folder, 1, command)\n"
        "workers.order('i-1', '127.0.0.9', Order.BOOT)\n"
        f"workers.order('i-1', '127.0.0.9', Order('{last}'))\n"
        "print('ready', flush=True); time.sleep(1000)\n"
    )
    owner = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    assert owner.stdout.readline()
    async with asyncio.timeout(LONG):
        while not (leaders := _leaders(tmp_path)) or not _is(leaders[0], last):
            await asyncio.sleep(0.02)
    owner.send_signal(signal.SIGKILL)
    owner.communicate()
    await _gone(leaders)


def _is(leader: Identity, last: Order) -> bool:
    process = processes.find(leader)
    return process is not None and process.frozen is (last is Order.FREEZE)


async def test_when_its_owner_is_killed_it_ends(tmp_path: Path) -> None:
    program = (
        "import json, sys, time; from pathlib import Path\n"
        "from torpor_provisioner.faithful_ec2.playing import played\n"
        f"with played(Path({str(tmp_path)!r})) as environ:\n"
        "    print(json.dumps(environ), flush=True); time.sleep(1000)\n"
    )
    owner = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    environ = json.loads(owner.stdout.readline())
    assert _listens(environ)
    owner.send_signal(signal.SIGKILL)
    owner.communicate()
    await until(lambda: not _listens(environ))


def test_a_start_ends_what_an_earlier_one_has_left(tmp_path: Path) -> None:
    """Its warden was killed with it, so nobody could."""
    folder = tmp_path / "machines" / "i-0123456789abcdef0"
    worker = Worker(folder)
    worker.data.mkdir(parents=True)
    with (folder / "lock").open("a") as lock:
        worker.launch(["sleep", "100000"], {}, lock=lock.fileno(), nice=0, memory=0)
    [leader] = _leaders(tmp_path / "machines")
    assert processes.find(leader)
    workers = ProcessWorkers(tmp_path / "machines", 1)
    assert processes.find(leader) is None
    workers.close()


def test_without_moto_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "moto" else find(name)
    )
    with pytest.raises(NotInstalled) as refused, played(tmp_path):
        pass
    assert str(refused.value).startswith("TPR-2208 ")
    assert "torpor[demo-ec2], for moto" in str(refused.value)


def test_one_that_does_not_start_is_told(tmp_path: Path, capfd) -> None:
    with (
        pytest.raises(NotReady, match="did not start"),
        played(tmp_path, worker="no-such {field}"),
    ):
        pass
    assert "names ['field']" in capfd.readouterr().err


async def _gone(leaders: list[Identity]) -> None:
    assert leaders
    await until(lambda: not any(Tree(leader).members() for leader in leaders))


def _listens(environ: dict[str, str]) -> bool:
    try:
        _machines(environ)
    except OSError:
        return False
    return True
