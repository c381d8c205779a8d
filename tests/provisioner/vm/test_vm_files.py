"""Sparse memories, records, settings, images and what a kernel unpacks."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from torpor_provisioner.errors import Invalid
from torpor_provisioner.vm import VmSettings, sparse
from torpor_provisioner.vm.errors import DiskFull, ImageNotMade, NoHypervisor, NoImage
from torpor_provisioner.vm.hypervisor import Traits
from torpor_provisioner.vm.image import debian, find, names
from torpor_provisioner.vm.image.cpio import Archive
from torpor_provisioner.vm.image.folder import Image, call, made_once
from torpor_provisioner.vm.image.kernel import Kernel
from torpor_provisioner.vm.qemu import Qemu
from torpor_provisioner.vm.record import Phase, Record
from torpor_provisioner.vm.settings import size

MIB = 1 << 20


def test_a_memory_takes_all_its_room_awake_and_what_it_needs_asleep(tmp_path):
    memory = tmp_path / "memory"
    sparse.reserve(memory, 8 * MIB)
    assert memory.stat().st_size == 8 * MIB
    assert sparse.blocks(memory) >= 8 * MIB
    with memory.open("r+b") as file:
        file.seek(4 * MIB)
        file.write(b"x" * 4096)
        os.fsync(file.fileno())
    sparse.release(memory)
    assert sparse.blocks(memory) < MIB
    assert memory.stat().st_size == 8 * MIB
    assert memory.read_bytes()[4 * MIB : 4 * MIB + 4097] == b"x" * 4096 + b"\0"


def test_a_copy_keeps_the_holes(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    with old.open("wb") as file:
        file.truncate(16 * MIB)
        file.seek(3 * MIB)
        file.write(b"y" * MIB)
        file.seek(16 * MIB - 5)
        file.write(b"ended")
        os.fsync(file.fileno())
    sparse.copy(old, new)
    assert new.read_bytes() == old.read_bytes()
    assert sparse.blocks(new) < 4 * MIB
    assert sparse.blocks(tmp_path / "none") == 0


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(DiskFull, match="8 MiB for its memory: No space"):
        sparse.reserve(tmp_path / "memory", 8 * MIB)
    assert not (tmp_path / "memory").exists()


def test_a_record_is_read_as_it_was_written(spec):
    record = Record(
        **{name: getattr(spec(), name) for name in ("satellite_id", "generation", "org", "name")},
        arch=spec().arch,
        hibernate=True,
        image="tiny-1",
        memory=256,
        cpus=2,
        worker_port=30_000,
        identity_port=30_001,
        phase=Phase.MADE,
        since=1.5,
        calls=1,
    )
    started = replace(record, devices=("-cpu", "max"), traits=Traits("7", "q", "max", "tcg"))
    for each in (record, started):
        assert Record.from_json(each.to_json()) == each
    older = record.to_json().replace('"detail": ""', '"told": "its memory is too large"')
    assert Record.from_json(older) == replace(record, detail="its memory is too large")


@pytest.mark.parametrize(
    ("text", "meant"), [("1x64M", (1, 64)), ("2x4G", (2, 4096)), ("128x1024G", (128, 1 << 20))]
)
def test_sizes(text, meant):
    assert size(text) == meant


@pytest.mark.parametrize("text", ["", "2", "2x", "x4G", "0x4G", "2x4", "2x63M", "2x2048G", "٢x4G "])
def test_what_is_no_size_is_refused_with_an_example(text):
    with pytest.raises(Invalid, match="such as 2x512M"):
        size(text)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ACCELERATOR", "xen"),
        ("SIZE", "large"),
        ("MEMORY", "-1"),
        ("CPUS", "two"),
        ("PORTS", "70000-80000"),
        ("STOP_GRACE", "1.5"),
        ("MAX_SATELLITES", ""),
        ("ACCOUNTS", "1"),
    ],
)
def test_a_variable_that_cannot_be_read_is_named(tmp_path, variable, value):
    with pytest.raises(Invalid, match=f"TORPOR_VM_{variable}|such as"):
        VmSettings.from_environment({f"TORPOR_VM_{variable}": value}, tmp_path)


def test_without_variables_there_are_defaults(tmp_path):
    settings = VmSettings.from_environment({"TORPOR_VM_ACCOUNTS": "router"}, tmp_path)
    assert settings == VmSettings(images=tmp_path / "images")


def test_a_spec_that_cannot_be_had_here_is_refused(tmp_path, spec):
    settings = VmSettings(images=tmp_path)
    with pytest.raises(Invalid, match="the setting 'image', not"):
        settings.wanted(spec(worker="other"))
    assert settings.wanted(spec(image="mine")).image == "mine"
    with pytest.raises(Invalid, match="not arm64"):
        settings.wanted(replace(spec(), arch="arm64"))


def test_images_are_found_by_name_and_by_what_it_means_now(tmp_path):
    def make(folder: Path) -> Image:
        return Image(folder, "quiet", 64)

    first = made_once(tmp_path, "tiny-1", make)
    call(tmp_path, "tiny", first)
    assert find(tmp_path, "tiny").name == "tiny-1"
    call(tmp_path, "tiny", made_once(tmp_path, "tiny-2", make))
    assert find(tmp_path, "tiny").name == "tiny-2"
    assert names(tmp_path) == ["tiny-1", "tiny-2"]
    assert made_once(tmp_path, "tiny-1", lambda _: pytest.fail("it is there")) == first


@pytest.mark.parametrize("name", ["", "none", "../tiny", ".part", "A", "x" * 64])
def test_what_is_no_image_is_refused(tmp_path, name):
    with pytest.raises(NoImage):
        find(tmp_path, name)


def test_a_damaged_image_is_refused(tmp_path):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/image.json").write_text('{"append": 1')
    with pytest.raises(NoImage, match="cannot be read"):
        find(tmp_path, "bad")


def test_an_image_of_another_version_may_say_more(tmp_path):
    (tmp_path / "new").mkdir()
    (tmp_path / "new/image.json").write_text('{"append": "quiet", "memory": 64, "more": 1}')
    assert find(tmp_path, "new").memory == 64


def test_half_an_image_is_never_seen(tmp_path):
    def fails(folder: Path) -> Image:
        (folder / "disk").touch()
        raise ImageNotMade("no apt")

    with pytest.raises(ImageNotMade):
        made_once(tmp_path, "tiny-1", fails)
    assert names(tmp_path) == []
    made_once(tmp_path, "tiny-1", lambda folder: Image(folder, "", 64))
    assert not (tmp_path / "tiny-1/disk").exists()


def test_without_debians_tools_an_image_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ImageNotMade, match="apt-get is not on this machine"):
        debian.unpacked("busybox-static", tmp_path)


def test_without_qemu_there_is_an_error_that_says_how_to_have_it(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoHypervisor, match=r"qemu-system-x86_64 is not installed.*apt-get install"):
        Qemu().traits()


def test_modules_come_after_those_they_need(tmp_path):
    folder = tmp_path / "lib/modules/6.1/kernel"
    folder.mkdir(parents=True)
    for name, needs in {
        "virtio_blk": "virtio",
        "virtio": "virtio-ring,built_in",
        "virtio-ring": "",
    }.items():
        (folder / f"{name}.ko").write_bytes(b"\0license=GPL\0depends=%s\0" % needs.encode())
    found = Kernel(tmp_path).modules("virtio_blk", "virtio")
    assert [path.stem for path in found] == ["virtio-ring", "virtio", "virtio_blk"]


def test_cpio_unpacks_what_was_put_in(tmp_path):
    made = Archive()
    made.console()
    made.file("init", b"#!/bin/sh\n", executable=True)
    made.file("modules/one.ko", b"odd")
    made.link("bin/sh", "busybox")
    made.save(tmp_path / "initrd")
    if shutil.which("busybox") is None:
        pytest.skip("busybox is not installed")
    content = gzip.decompress((tmp_path / "initrd").read_bytes())
    listed = subprocess.run(
        ["busybox", "cpio", "-tv"], input=content, capture_output=True, check=True
    )
    assert [line.split()[-1] for line in listed.stdout.decode().splitlines()] == [
        *("dev", "dev/console", "init", "modules", "modules/one.ko", "bin", "busybox"),
    ]
