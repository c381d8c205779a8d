"""What a small image is made of: the sample worker, or BuildKit where its binaries are."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from torpor_provisioner.vm.errors import ImageNotMade
from torpor_provisioner.vm.image import BuildKit, Sample
from torpor_provisioner.vm.image.small import checksum
from torpor_provisioner.vm.image.workers import GUEST


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A folder as BuildKit's release has one, with programs of this machine in their place."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("buildkitd", "buildctl", "buildkit-runc"):
        shutil.copy(shutil.which("true") or "/bin/true", folder / name)
    return folder


def test_buildkit_is_laid_with_the_libraries_that_it_needs(release, tmp_path):
    root = tmp_path / "root"
    BuildKit(release).lay(root)
    for name in ("buildkitd", "buildctl", "buildkit-runc"):
        assert (root / "usr/bin" / name).stat().st_mode & 0o777 == 0o755
    assert list(root.rglob("libc.so*"))


def test_an_image_is_made_anew_when_a_binary_is_another(release):
    before = checksum(BuildKit(release))
    assert before == checksum(BuildKit(release))
    assert before != checksum(Sample())
    with (release / "buildkitd").open("ab") as program:
        program.write(b"newer")
    assert checksum(BuildKit(release)) != before


def test_what_is_missing_of_buildkit_is_named(release, monkeypatch, tmp_path):
    (release / "buildkitd").unlink()
    (release / "buildkit-runc").unlink()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ImageNotMade, match=r"TPR-2219.*bin/buildkitd, .*bin/buildkit-runc is not"):
        checksum(BuildKit(release))


def test_each_worker_has_the_program_that_starts_it(tmp_path):
    for worker in (Sample(), BuildKit(tmp_path)):
        assert "8372" in (GUEST / worker.name).read_text()
