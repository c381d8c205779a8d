"""Every command of the README, then of docs/running.md, run as it stands there, in its order."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from e2ekit.real_tools import BAZEL, BUILDGRID, ROOT, tool
from free_ports import free_ports

from torpor_provisioner.local import LocalProvisioner

WITHIN = 110.0  # seconds
README = (ROOT / "README.md").read_text(encoding="utf-8")
RUNNING = (ROOT / "docs/running.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```console\n(.*?)```", README + RUNNING, re.DOTALL)
COMMANDS = [line.removeprefix("$ ") for block in BLOCKS for line in block.splitlines()]
MAKE = [command for command in COMMANDS if command.startswith("make ")]
SHELL = [command for command in COMMANDS if not command.startswith("make ")]
# The router needs a moment to listen, and is ours to end
LISTENS = "until (exec 3<>/dev/tcp/127.0.0.1/$DOOR) 2>/dev/null; do sleep 0.1; done"


def test_there_are_commands() -> None:
    assert MAKE == ["make demo", "make test"]
    assert len(SHELL) > 10


@pytest.mark.parametrize("command", MAKE)
def test_make_knows_its_targets(command: str) -> None:
    subprocess.run([*command.split(), "-n"], cwd=ROOT, capture_output=True, check=True)


def test_the_demo_that_plays_ec2_is_one_command() -> None:
    [command] = re.findall(r"`(make demo [^`]+)`", README)
    planned = subprocess.run(
        [*command.split(), "ONCE=1", "-n", "-W", "requirements/demo-ec2.txt"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    assert "--require-hashes -r requirements/demo-ec2.txt" in planned
    assert "torpor demo --provisioner ec2 --once" in planned
    lock = (ROOT / "requirements/demo-ec2.txt").read_text(encoding="utf-8")
    assert re.search(r"(?m)^moto==\S+ \\\n +--hash=sha256:", lock)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_fresh_clone_plays_ec2(tmp_path: Path) -> None:
    """By the README's words alone, with nothing that this checkout has installed."""
    clone = tmp_path / "torpor"
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
    [command] = re.findall(r"`(make demo [^`]+)`", README)
    done = subprocess.run(
        [*command.split(), "ONCE=1"], cwd=clone, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "wake" in done.stdout


@pytest.fixture
async def workspace(tmp_path: Path) -> AsyncIterator[Path]:
    """A Bazel workspace in which the commands are run; satellites made there are ended."""
    folder = tmp_path / "workspace"
    folder.mkdir()
    (folder / "WORKSPACE").touch()
    (folder / "BUILD").write_text('genrule(name = "one", outs = ["one.txt"], cmd = "date > $@")')
    yield folder
    local = LocalProvisioner(folder / ".torpor/local")
    for ref in await local.owned():
        await local.terminate(ref)
    await local.aclose()


def test_the_rest_as_it_stands_there(workspace: Path, tmp_path: Path) -> None:
    """Only the port is another: 8372 may be taken here."""
    port = free_ports()
    bazel = tmp_path / "bin/bazel"
    bazel.parent.mkdir()
    bazel.write_text(_bazel(tmp_path))
    bazel.chmod(0o755)
    done = subprocess.run(
        ["bash", "-c", _script(port)],
        cwd=workspace,
        env=_environment(bazel.parent, port, tmp_path),
        capture_output=True,
        text=True,
        timeout=WITHIN,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("woke") == 1
    assert "resumed" in done.stdout


def _script(port: int) -> str:
    lines = ["set -euo pipefail", "trap 'kill $(jobs -p); wait' EXIT"]
    for command in SHELL:
        lines.append(command.replace("127.0.0.1:8372", f"127.0.0.1:{port}"))
        if command.endswith("&"):
            lines.append(LISTENS)
    return "\n".join([*lines, "bazel shutdown"])


def _environment(programs: Path, port: int, folder: Path) -> dict[str, str]:
    path = [str(programs), str(Path(sys.executable).parent), str(tool(BUILDGRID).parent)]
    kept = {key: value for key, value in os.environ.items() if not key.startswith("TORPOR_")}
    return {
        **kept,
        "PATH": os.pathsep.join([*path, kept["PATH"]]),
        "HOME": str(folder),
        "DOOR": str(port),
        "TORPOR_LISTEN": f"127.0.0.1:{port}",
        "TORPOR_METRICS": "off",
        "TORPOR_ADDRESS": f"127.0.0.1:{port}",
        "TORPOR_DRAIN": "1",
        "TORPOR_LOCAL_ACCOUNTS": "router",  # where tests run as root, nobody else reaches them
    }


def _bazel(folder: Path) -> str:
    """Bazel with folders of its own; its server keeps standard output, so that goes to a file."""
    options = f"--output_user_root={folder}/bazel --max_idle_secs=60 --host_jvm_args=-Xmx512m"
    options += " --nohome_rc --nosystem_rc"
    program = shutil.which(str(tool(BAZEL)))
    return f'#!/bin/sh\nexec {program} {options} "$@" >>{folder}/bazel.log 2>&1\n'
