"""The demo with real machines: what it does where there are none. The story itself is slow."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from free_ports import free_ports
from vmkit.machines import needs_qemu

from torpor_router.demo.clouds import cloud


def test_without_qemu_the_demo_plays_with_processes_and_says_why(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with cloud("vm", tmp_path) as found:
        assert found.name == "local"
        assert "qemu-system-x86_64 is not installed" in found.warning


@needs_qemu
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_story_comes_true_with_real_machines(tmp_path: Path):
    port = free_ports(2)
    words = ["demo", "--provisioner", "vm", "--once", "--builds", "10"]
    told = subprocess.run(
        [
            *(sys.executable, "-m", "torpor_router.cli.torpor"),
            *words,
            "--port",
            str(port),
            "--data",
            str(tmp_path),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stdout + told.stderr
    assert "the machine was woken by exactly 1 call" in told.stdout
