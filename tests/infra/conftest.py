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
