"""What the tests of infra/ share: the tools that check it, skipped by name where missing."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def infra() -> Path:
    return ROOT / "infra"


@pytest.fixture(scope="session")
def docs() -> Path:
    return ROOT / "docs"


@pytest.fixture(scope="session")
def verified(tool: Callable[[str], Run]) -> Callable[..., str]:
    """What systemd has to say against units below a root of their own; empty if nothing."""
    verify = tool("systemd-analyze")

    def ask(root: Path, *units: Path) -> str:
        system = root / "usr/lib/systemd/system"
        system.mkdir(parents=True, exist_ok=True)
        for target in Path("/usr/lib/systemd/system").glob("*.target"):  # what units hang on
            if not target.is_symlink():
                shutil.copy(target, system)
        done = verify("verify", "--man=no", "--recursive-errors=one", f"--root={root}", *units)
        return done.stderr or ("it failed" if done.returncode else "")

    return ask


@pytest.fixture(scope="session")
def tool() -> Callable[[str], Run]:
    """`tool("nft")` is a function that runs it; without it the test is skipped, in CI it fails."""

    def find(name: str) -> Run:
        beside = ROOT / ".venv" / "bin" / name
        path = str(beside) if beside.exists() else shutil.which(name)
        if path is None:
            message = f"{name} is not installed (.ci/run does)"
            if os.environ.get("CI") == "true":
                pytest.fail(message)
            pytest.skip(message)

        def run(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
            options = {"capture_output": True, "timeout": 110} | options
            words = [path, *map(str, arguments)]
            return subprocess.run(words, check=False, text=True, **options)

        return run

    return find
