"""The committed gRPC code is what `make proto` would write."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("source_root", ["router", "provisioner", "tests/kit"])
def test_is_not_stale(tmp_path: Path, source_root: str) -> None:
    subprocess.run([ROOT / ".ci/proto", source_root, tmp_path], check=True, cwd=ROOT)
    fresh = {path.relative_to(tmp_path): path for path in tmp_path.rglob("*_pb2*")}
    committed = {
        path.relative_to(ROOT / source_root)
        for path in (ROOT / source_root).rglob("*_pb2*.py*")
        if "__pycache__" not in path.parts
    }
    assert set(fresh) == committed
    stale = [
        str(path)
        for path, made in fresh.items()
        if made.read_bytes() != (ROOT / source_root / path).read_bytes()
    ]
    assert not stale, "run 'make proto' and commit what it writes"
