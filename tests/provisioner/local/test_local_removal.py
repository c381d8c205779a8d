"""`terminate` removes a machine's folder whatever was left in it, or says what holds it."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest
from localkit.machines import IDLE, folder_of, observe

from torpor_provisioner.contract import MachineState
from torpor_provisioner.local import removal
from torpor_provisioner.local.errors import FolderHeld

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
NOBODY = 65534


@pytest.fixture
def precious(tmp_path: Path, open_folder: Path) -> Iterator[Path]:
    """A folder of somebody else's, which a build may have bound into its own."""
    folder = tmp_path / "precious"
    folder.mkdir()
    (folder / "file").write_text("kept")
    yield folder
    for mount in [*removal.mounts_below(tmp_path), *removal.mounts_below(open_folder)]:
        subprocess.run(["umount", "--lazy", mount], check=True)


def bind(what: Path, where: Path) -> None:
    where.mkdir(parents=True)
    if subprocess.run(
        ["mount", "--bind", what, where], capture_output=True, check=False
    ).returncode:
        pytest.skip("this container may not mount")


@only_root
async def test_a_mount_that_was_left_behind_is_detached_and_not_emptied(
    local, spec, tmp_path: Path, precious: Path
) -> None:
    provisioner = local(IDLE)
    ref = await provisioner.launch(spec(), "token")
    bind(precious, folder_of(tmp_path, ref) / "data" / "a root" / "fs")
    await provisioner.terminate(ref)
    assert (precious / "file").read_text() == "kept"
    assert removal.mounts_below(tmp_path) == []
    assert (await observe(provisioner, ref)).state is MachineState.GONE
    assert list((tmp_path / "local" / "terminated").iterdir()) == []


@only_root
def test_a_mount_that_may_not_be_detached_is_named(open_folder: Path, precious: Path) -> None:
    machine = open_folder / "machine"
    bind(precious, machine / "data" / "fs")
    script = f"""
import os
from pathlib import Path
from torpor_provisioner.local import removal
os.setresuid({NOBODY}, {NOBODY}, {NOBODY})
try:
    removal.remove(Path({str(machine)!r}))
except removal.FolderHeld as held:
    print(held)
"""
    told = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert told.stdout.startswith("TPR-2211 "), told
    assert f"umount --lazy '{machine / 'data' / 'fs'}'" in told.stdout
    assert (precious / "file").read_text() == "kept"


@only_root
@pytest.mark.skipif(shutil.which("chattr") is None, reason="needs e2fsprogs")
async def test_what_cannot_be_removed_is_named_and_holds_up_no_other(
    local, spec, tmp_path: Path
) -> None:
    provisioner = local(IDLE)
    ref, other = [await provisioner.launch(spec(), token) for token in ("one", "two")]
    kept = folder_of(tmp_path, ref) / "data" / "kept"
    kept.mkdir()
    if subprocess.run(["chattr", "+i", kept], capture_output=True, check=False).returncode:
        pytest.skip("this file system has no immutable files")
    try:
        for _ in range(2):  # the folder is no machine's any more at the second call
            with pytest.raises(FolderHeld, match=r"data/kept.*Operation not permitted"):
                await provisioner.terminate(ref)
        await provisioner.terminate(other)
        assert [grave.name.startswith(ref) for grave in graves(tmp_path)] == [True]
    finally:
        for left in tmp_path.glob("local/*/*/data/kept"):
            subprocess.run(["chattr", "-i", left], check=True)
    await provisioner.terminate(ref)
    assert graves(tmp_path) == []


def graves(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "local" / "terminated").iterdir())


def test_mounts_are_read_as_the_kernel_writes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "mountinfo"
    lines = [
        f"1 0 0:1 / {tmp_path} rw - tmpfs none rw",
        f"2 1 0:1 / {tmp_path}/one/a\\040b rw - tmpfs none rw",
        f"3 2 0:1 / {tmp_path}/one/a\\040b/c\u00a0d rw - tmpfs none rw",
        f"4 1 0:1 / {tmp_path}/one-more rw - tmpfs none rw",
    ]
    table.write_text("\n".join(lines) + "\n")
    monkeypatch.setattr(removal, "MOUNTS", table)
    monkeypatch.setattr(sys, "platform", "linux")
    (tmp_path / "one").mkdir()
    assert removal.mounts_below(tmp_path / "one") == [
        tmp_path / "one" / "a b" / "c\u00a0d",
        tmp_path / "one" / "a b",
    ]


async def test_closing_waits_for_a_call_beside_the_event_loop(local, spec, tmp_path: Path) -> None:
    provisioner = local(IDLE)
    ref = await provisioner.launch(spec(), "token")
    with (folder_of(tmp_path, ref) / "lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        waking = asyncio.create_task(provisioner.wake(ref))
        await asyncio.sleep(0)  # its thread is at work, or about to be
        # Lets the lock go should the loop stand still: then the test fails and does not hang
        turned = threading.Event()
        watching = asyncio.create_task(asyncio.to_thread(unlock_unless, turned, lock))
        await asyncio.sleep(0)
        closing = asyncio.create_task(provisioner.aclose())
        await asyncio.sleep(0.05)
        turned.set()
        assert await watching, "the loop stood still"
        assert not closing.done()
        fcntl.flock(lock, fcntl.LOCK_UN)
        await asyncio.gather(waking, closing)


def unlock_unless(turned: threading.Event, lock: IO[str]) -> bool:
    if turned.wait(30):
        return True
    fcntl.flock(lock, fcntl.LOCK_UN)
    return False
