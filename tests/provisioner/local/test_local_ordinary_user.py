"""The local provisioner where root is not: everything works as an ordinary user."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import torpor_provisioner

NOBODY = 65534


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
async def test_works_as_an_ordinary_user() -> None:
    # Nothing of pytest's, ours or the virtual environment's need be open to others.
    home = Path(tempfile.mkdtemp())
    shutil.copytree(Path(torpor_provisioner.__file__).parent, home / "torpor_provisioner")
    script = """
import asyncio, sys
from pathlib import Path
from uuid import uuid4
from torpor_provisioner.contract import Arch, SleepKind, Spec
from torpor_provisioner.local import LocalProvisioner, LocalSettings
from torpor_provisioner.local.settings import WorkerCommand

async def main():
    worker = WorkerCommand.parse("sleep 100000")
    provisioner = LocalProvisioner(Path(sys.argv[1]), LocalSettings(workers={"default": worker}))
    ref = await provisioner.launch(Spec(uuid4(), 1, "acme", "one", Arch.X86_64), "token")
    for how in SleepKind:
        await provisioner.sleep(ref, how)
        while (await provisioner.observe([ref]))[ref].state != "asleep":
            await asyncio.sleep(0.01)
        await provisioner.wake(ref)
    print((await provisioner.observe([ref]))[ref].state, end="")
    await provisioner.terminate(ref)
    await provisioner.aclose()

asyncio.run(main())
"""
    try:
        for path in (home, *home.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
        ran = subprocess.run(
            [open_python(), "-W", "error", "-c", script, str(home / "local")],
            user=NOBODY,
            group=NOBODY,
            extra_groups=[],
            cwd=home,
            env={"PATH": os.defpath, "PYTHONPATH": str(home)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (ran.stdout, ran.stderr) == ("running", "")
    finally:
        shutil.rmtree(home)


def open_python() -> str:
    """An interpreter that everyone may run; the one running may lie in root's own home."""
    for path in (sys.executable, shutil.which("python3", path="/usr/local/bin:/usr/bin")):
        asks = [path, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
        try:
            if path and subprocess.run(asks, user=NOBODY, check=False).returncode == 0:
                return path
        except PermissionError:
            continue
    pytest.skip("no Python 3.11 that another user may run")
