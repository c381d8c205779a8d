"""The real tools that tests are run with, where `make tools` put them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
BAZEL = ROOT / ".tools/bazel/node_modules/.bin/bazel"
BUILDGRID = ROOT / ".tools/buildgrid/bin/bgd"


def tool(path: Path) -> Path:
    """The tool, or the end of this test: skipped here, failed where nothing may be missing."""
    if path.exists():
        return path
    missing = f"{path.name} is not in .tools; 'make tools' says why"
    if os.environ.get("CI") == "true":
        pytest.fail(missing)
    pytest.skip(missing)
