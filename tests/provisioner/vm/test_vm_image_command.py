"""`torpor image`, as an operator types it."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from vmkit.machines import image, images, needs_qemu

from torpor_router.cli.torpor import main


@needs_qemu
@pytest.mark.timeout(600)
def test_an_image_is_built_once_and_listed(tmp_path, monkeypatch):
    made = image()
    monkeypatch.setenv("TORPOR_VM_IMAGES", str(images()))
    built = CliRunner().invoke(main, ["image", "build", "--no-golden", "--json"])
    assert built.exit_code == 0, built.output
    assert json.loads(built.stdout) == {"name": made.name, "folder": str(made.folder)}
    listed = CliRunner().invoke(main, ["image", "ls"])
    assert made.name in listed.output


def test_without_tools_it_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("torpor_provisioner.vm.image.ext4.PATH", "")
    failed = CliRunner().invoke(main, ["image", "build", "--data", str(tmp_path)])
    assert failed.exit_code == 3
    assert "TPR-2219" in failed.output
    none = CliRunner().invoke(main, ["image", "ls", "--data", str(tmp_path)])
    assert "torpor image build" in none.output


def test_a_size_that_is_none_is_refused_before_anything_is_made(tmp_path):
    failed = CliRunner().invoke(
        main, ["image", "build", "--data", str(tmp_path), "--size", "large"]
    )
    assert failed.exit_code == 2
    assert "such as 2x512M" in failed.output
    assert not list(tmp_path.iterdir())
