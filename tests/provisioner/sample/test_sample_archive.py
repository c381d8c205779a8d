"""What the sample worker unpacks, and what it refuses."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torpor_provisioner.sample.archive import ArchiveTooLarge, BadArchive, unpack

MIB = 1 << 20


def member(name: str, content: bytes = b"", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def symlink(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=tarfile.SYMTYPE, linkname=target)


def archive(*members: tuple[tarfile.TarInfo, bytes], mode: str = "w") -> io.BytesIO:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as tar:  # type: ignore[call-overload]
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    return file


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_files_folders_and_links_inside_are_unpacked(tmp_path: Path, mode: str) -> None:
    packed = archive(
        member("src", type=tarfile.DIRTYPE, mode=0o755),
        member("src/run.sh", b"echo hello", mode=0o755),
        symlink("src/again", "run.sh"),
        symlink("src/up", "../src/run.sh"),
        member("hard", type=tarfile.LNKTYPE, linkname="src/run.sh", mode=0o755),
        mode=mode,
    )
    assert unpack(packed, tmp_path, max_bytes=MIB) == 5
    assert (tmp_path / "src/up").read_bytes() == b"echo hello"
    assert (tmp_path / "hard").read_bytes() == b"echo hello"
    assert os.access(tmp_path / "src/run.sh", os.X_OK)


def test_nothing_sent_is_an_empty_workspace(tmp_path: Path) -> None:
    assert unpack(io.BytesIO(), tmp_path, max_bytes=MIB) == 0


@pytest.mark.parametrize(
    "members",
    [
        pytest.param([member("/etc/outside", b"x")], id="absolute"),
        pytest.param([member("../outside", b"x")], id="parent"),
        pytest.param([member("a/../../outside", b"x")], id="parent-inside"),
        pytest.param([symlink("out", "/etc/passwd")], id="absolute-link"),
        pytest.param([symlink("out", "../outside")], id="link-out"),
        pytest.param([symlink("a/out", "../../outside")], id="nested-link-out"),
        pytest.param([symlink("a", "."), symlink("b", "a/..")], id="link-through-link"),
        pytest.param([symlink("a", "."), member("a/file", b"x")], id="write-through-link"),
        pytest.param([symlink("a", "b"), member("a", b"x")], id="write-over-link"),
        pytest.param([member("h", type=tarfile.LNKTYPE, linkname="../x")], id="hard-link-out"),
        pytest.param([member("h", type=tarfile.LNKTYPE, linkname="/etc/passwd")], id="hard-abs"),
        pytest.param([member("pipe", type=tarfile.FIFOTYPE)], id="fifo"),
        pytest.param([member("null", type=tarfile.CHRTYPE, devmajor=1, devminor=3)], id="device"),
    ],
)
def test_what_reaches_out_is_refused(
    tmp_path: Path, members: list[tuple[tarfile.TarInfo, bytes]]
) -> None:
    workspace = tmp_path / "inner" / "workspace"
    workspace.mkdir(parents=True)
    with pytest.raises(BadArchive):
        unpack(archive(*members), workspace, max_bytes=MIB)
    assert not list(tmp_path.rglob("outside"))


def test_a_bomb_is_refused_before_it_is_written(tmp_path: Path) -> None:
    bomb = archive(member("zeros", bytes(MIB + 1)), mode="w:gz")
    with pytest.raises(ArchiveTooLarge):
        unpack(bomb, tmp_path, max_bytes=MIB)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "content",
    [b"no archive at all" * 100, gzip.compress(b"no archive")[:-4], b"\x1f\x8b\x08"],
    ids=["text", "truncated-gzip", "only-magic"],
)
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(BadArchive):
        unpack(io.BytesIO(content), tmp_path, max_bytes=MIB)


@given(content=st.binary(max_size=2048), compressed=st.booleans())
def test_any_bytes_are_unpacked_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, compressed: bool
) -> None:
    workspace = tmp_path_factory.mktemp("workspace")
    sent = io.BytesIO(gzip.compress(content) if compressed else content)
    with suppress(BadArchive):
        unpack(sent, workspace, max_bytes=MIB)
