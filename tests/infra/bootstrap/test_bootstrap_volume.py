"""The satellite's cache volume: its scripts, run on a disk image."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

MIB = 1 << 20
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="mounts are root's")


class Volume:
    """A disk image behind a loop device, and the satellite's script that mounts it."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self.image = folder / "disk"
        self.folder = folder / "mounted"
        self.label = f"tt{secrets.token_hex(4)}"
        self.programs = programs
        with self.image.open("wb") as file:
            file.truncate(320 * MIB)
        self.device = self._losetup("--find", "--show", self.image)

    def _losetup(self, *arguments: object) -> str:
        words = ["losetup", *map(str, arguments)]
        return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()

    def mount(self, device: str | None = None) -> subprocess.CompletedProcess[str]:
        given = {"TORPOR_CACHE_DEVICE": device or self.device, "TORPOR_CACHE_TRIES": "1"}
        return subprocess.run(
            [self.programs / "cache", self.folder, self.label],
            check=False,
            env={"PATH": os.environ["PATH"]} | given,
            capture_output=True,
            text=True,
        )

    def unmount(self) -> None:
        subprocess.run(["umount", self.folder], check=True)

    def grow(self, size: int) -> None:
        with self.image.open("r+b") as file:
            file.truncate(size)
        self._losetup("--set-capacity", self.device)

    def end(self) -> None:
        subprocess.run(["umount", "--quiet", self.folder], check=False, capture_output=True)
        self._losetup("--detach", self.device)


@pytest.fixture
def volume(tmp_path, programs, tool) -> Iterator[Volume]:
    tool("mkfs.xfs")
    try:
        made = Volume(tmp_path, programs)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no loop devices here: {error.stderr}")
    try:
        yield made
    finally:
        made.end()


@root_only
def test_a_new_volume_is_made_ready_and_found_again(volume: Volume):
    assert (first := volume.mount()).returncode == 0, first.stderr
    (volume.folder / "warm").write_text("cache")
    assert volume.mount().returncode == 0, "a second run must change nothing"
    volume.unmount()
    # A machine whose root was replaced: the same volume, by another name.
    assert volume.mount(device="/dev/renamed").returncode == 0
    assert (volume.folder / "warm").read_text() == "cache"


@root_only
def test_a_grown_volume_is_used_whole(volume: Volume):
    assert volume.mount().returncode == 0
    before = shutil.disk_usage(volume.folder).total
    volume.unmount()
    volume.grow(448 * MIB)
    assert volume.mount().returncode == 0
    assert shutil.disk_usage(volume.folder).total > before + 100 * MIB


@root_only
def test_a_disk_with_anything_on_it_is_not_touched(volume: Volume):
    subprocess.run(["mkswap", volume.device], check=True, capture_output=True)
    before = volume.image.read_bytes()[:8192]
    refused = volume.mount()
    assert refused.returncode == 1
    assert "no volume" in refused.stderr
    assert volume.image.read_bytes()[:8192] == before


@root_only
def test_a_full_disk_gets_room_to_collect_and_holds_it_back_again(volume: Volume):
    assert volume.mount().returncode == 0
    ballast = volume.folder / ".ballast"
    held = ballast.stat().st_size
    assert held >= 2 * MIB
    fill = volume.folder / "fill"
    filled = subprocess.run(["cp", "/dev/zero", fill], check=False, capture_output=True, text=True)
    assert "No space left" in filled.stderr
    with pytest.raises(OSError, match="No space left"):
        (volume.folder / "metadata").write_bytes(bytes(MIB))
    room = [volume.programs / "room", volume.folder]
    subprocess.run(room, check=True)
    (volume.folder / "metadata").write_bytes(bytes(MIB))  # collection can write
    fill.unlink()
    while not ballast.exists():  # XFS gives blocks back some time after the file is gone
        subprocess.run(room, check=True)
        time.sleep(0.05)
    assert ballast.stat().st_size == held
