"""BuildGrid's configuration for one satellite: only the address differs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# Stands in for bgd: says what it is to serve. The real one runs in the tests with Bazel.
SHOW = '#!/bin/sh\n[ "$1 $2" = \'server start\' ] && cat "$3"\n'


@pytest.mark.parametrize(
    ("where", "address"),
    [
        (["/run/a: b"], "unix:/run/a%3A%20b"),
        (["127.0.0.1", "20000"], "127.0.0.1:20000"),
        (["[::1]", "20000"], "[::1]:20000"),
    ],
)
def test_buildgrid_listens_at_the_given_address(
    tmp_path: Path, where: list[str], address: str
) -> None:
    bgd = tmp_path / "bgd"
    bgd.write_text(SHOW)
    bgd.chmod(0o700)
    module = [sys.executable, "-m", "torpor_provisioner.local.buildgrid"]
    shown = subprocess.run(
        [*module, str(bgd), *where, str(tmp_path)], capture_output=True, text=True, check=True
    ).stdout
    assert f'address: "{address}"' in shown
