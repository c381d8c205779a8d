"""Root's satellites run as accounts of their own, and reach nothing that is not theirs."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from localkit.machines import becomes, observe
from waiting import until

from torpor_provisioner import accounts as numbers
from torpor_provisioner.contract import MachineState, SleepKind
from torpor_provisioner.errors import Capacity
from torpor_provisioner.local import LocalProvisioner, LocalSettings, accounts
from torpor_provisioner.local.errors import NoAccount
from torpor_provisioner.local.settings import ACCOUNTS, WorkerCommand
from torpor_router.probe import answers

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not numbers.is_mapped(ACCOUNTS.stop),
    reason="only root can become another user, where there are any",
)
# Runs the commands that it finds in its folder, as a build would, and keeps what they say.
BUILDER = """sh -c 'while :; do
    if [ -e build ]; then mv build run; sh ./run >said.new 2>&1; mv said.new said; fi
    sleep 0.02
done'"""


@pytest.fixture
async def house(open_folder: Path) -> AsyncIterator[Callable[..., LocalProvisioner]]:
    """Provisioners of one data folder that lies where every account may go."""
    made: list[LocalProvisioner] = []

    def make(worker: str = BUILDER, accounts: range | None = ACCOUNTS) -> LocalProvisioner:
        settings = LocalSettings(
            workers={"default": WorkerCommand.parse(worker)}, accounts=accounts
        )
        made.append(LocalProvisioner(open_folder / "local", settings))
        return made[-1]

    yield make
    for ref in await make().owned():
        await made[-1].terminate(ref)
    for provisioner in made:
        await provisioner.aclose()


def data_of(provisioner: LocalProvisioner, ref: str) -> Path:
    return provisioner.folder / "machines" / ref / "data"


async def build(provisioner: LocalProvisioner, ref: str, script: str) -> str:
    """What a command prints that runs where the satellite's builds do."""
    data = data_of(provisioner, ref)
    (data / "build.new").write_text(script)
    (data / "build.new").chmod(0o644)
    (data / "build.new").rename(data / "build")
    said = data / "said"
    await until(said.exists)
    text = said.read_text()
    said.unlink()
    return text


async def test_each_satellite_is_someone_else_and_none_is_root(house, spec) -> None:
    provisioner = house()
    refs = [await provisioner.launch(spec(name=name), name) for name in ("one", "two")]
    told = [await build(provisioner, ref, "id -u; id -g; id -G; echo $HOME") for ref in refs]
    uids = [int(text.split()[0]) for text in told]
    assert len(set(uids)) == 2
    for ref, uid, text in zip(refs, uids, told, strict=True):
        assert uid in ACCOUNTS
        assert text.split() == [str(uid)] * 3 + [str(data_of(provisioner, ref))]
        await provisioner.sleep(ref, SleepKind.STOPPED)
        await becomes(provisioner, ref, MachineState.ASLEEP)
        await provisioner.wake(ref)
        assert int((await build(provisioner, ref, "id -u")).strip()) == uid, "for life"


async def test_a_build_reaches_neither_its_neighbour_nor_the_router(
    house, spec, open_folder: Path
) -> None:
    (open_folder / "postgres").mkdir()
    secret = open_folder / "postgres" / "server.json"
    secret.touch(mode=0o600)
    provisioner = house()
    one, two = [await provisioner.launch(spec(name=name), name) for name in ("one", "two")]
    folder = data_of(provisioner, two)
    pid = await build(provisioner, two, "echo $PPID")
    tries = {
        "read another's data": f"ls {folder}",
        "know who else is here": f"ls {folder.parent.parent}",
        "read another's record": f"cat {folder.parent}/machine.json",
        "read the router's password": f"cat {secret}",
        "hold up its own satellite": "flock -n ../lock true || flock -n -s ../lock true",
        "hold up all launches": f"flock -n {provisioner.folder}/lock true",
        "end its neighbour": f"kill -9 {pid}",
        "end its keeper": "kill -9 $(cut -d' ' -f4 /proc/$PPID/stat)",
        "write its own record": "echo x >../machine.json",
    }
    for what, script in tries.items():
        said = await build(provisioner, one, f"({script}) && echo DONE")
        assert "DONE" not in said, (what, said)
        assert "ermi" in said, (what, said)  # Permission denied, Operation not permitted
    assert (await observe(provisioner, two)).state is MachineState.RUNNING


async def test_what_runs_as_another_account_is_frozen_and_ended(house, spec) -> None:
    provisioner = house()
    ref = await provisioner.launch(spec(), "token")
    pid = int(await build(provisioner, ref, "setsid sleep 100000 >/dev/null 2>&1 & echo $!"))
    stat_file = Path(f"/proc/{pid}/stat")
    await provisioner.sleep(ref, SleepKind.HIBERNATED)
    assert stat_file.read_text().rpartition(")")[2].split()[0] == "T"
    await provisioner.terminate(ref)
    assert not stat_file.exists()
    assert not data_of(provisioner, ref).exists()


SPEAKS = """/usr/bin/env perl -MIO::Socket::UNIX -e '
    my $all = IO::Socket::UNIX->new(Local => $ARGV[0], Listen => 9) or die $!;
    while (my $one = $all->accept) {{ syswrite $one, "\\0\\0\\0\\4\\0\\0\\0\\0\\0"; sleep 1 }}
' {socket}"""


async def test_its_socket_is_reached_by_the_router(house, spec) -> None:
    provisioner = house(SPEAKS)
    ref = await provisioner.launch(spec(), "token")
    address = (await observe(provisioner, ref)).address
    assert address is not None
    owner = Path(address.host).parent.stat()
    assert owner.st_uid in ACCOUNTS
    assert stat.S_IMODE(owner.st_mode) == 0o700
    async with asyncio.timeout(60):
        while not await answers(address, 5.0):
            await asyncio.sleep(0.05)


async def test_data_of_an_earlier_version_are_handed_over(house, spec, open_folder: Path) -> None:
    precious = open_folder / "precious"
    precious.write_text("root's")
    before = house(accounts=None)
    ref = await before.launch(spec(), "token")
    data = data_of(before, ref)
    assert (await build(before, ref, "id -u; mkdir -p a/b; touch a/b/c")).strip() == "0"
    os.link(precious, data / "a" / "link")
    (data / "a" / "symbolic").symlink_to(precious)
    await before.sleep(ref, SleepKind.STOPPED)
    await becomes(before, ref, MachineState.ASLEEP)
    now = house()
    await now.wake(ref)
    uid = int(await build(now, ref, "id -u; echo more >a/b/c"))
    assert uid in ACCOUNTS
    assert (data / "a" / "b" / "c").stat().st_uid == uid
    assert precious.stat().st_uid == 0, "a hard link to it stood in the data"


async def test_there_are_only_so_many(house, spec) -> None:
    provisioner = house(accounts=range(ACCOUNTS.start, ACCOUNTS.start + 1))
    await provisioner.launch(spec(), "one")
    with pytest.raises(Capacity, match="no account of 70000-70000"):
        await provisioner.launch(spec(name="two"), "two")
    assert len(await provisioner.owned()) == 1


def test_root_refuses_where_its_workers_could_not_run(
    open_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sh = {"TORPOR_LOCAL_WORKER": "/bin/sh {socket}"}
    LocalProvisioner.from_environment(sh, open_folder / "data")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(NoAccount, match=f"TPR-2213 .*may not enter {closed}.*ACCOUNTS=router"):
        LocalProvisioner.from_environment(sh, closed / "data")
    (closed / "worker").write_text("#!/bin/sh\n")
    (closed / "worker").chmod(0o755)
    theirs = {"TORPOR_LOCAL_WORKER": f"{closed}/worker {{socket}}"}
    with pytest.raises(NoAccount, match=f"may not run {closed}/worker"):
        LocalProvisioner.from_environment(theirs, open_folder)
    LocalProvisioner.from_environment(theirs | {"TORPOR_LOCAL_ACCOUNTS": "router"}, closed / "data")

    uid_map = tmp_path / "uid_map"
    uid_map.write_text("0 1000 1\n1 100000 65536\n")
    monkeypatch.setattr(numbers, "UID_MAP", uid_map)
    with pytest.raises(NoAccount, match="no accounts 70000 to 79999"):
        LocalProvisioner.from_environment(sh, open_folder)


def test_a_number_that_is_somebodys_is_not_taken(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    (open_folder / "local-1" / "data").mkdir(parents=True)
    with pytest.raises(Capacity):
        accounts.give(open_folder / "local-1", range(1, 2), open_folder)  # daemon's
