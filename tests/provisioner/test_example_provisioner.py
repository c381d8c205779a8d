"""The worked example of docs/provisioners.md, as its author would have it: a package that is built,
installed beside Torpor, and tested with the conformance kit."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLE = DOCS / "examples" / "torpor-nimbus"


def test_the_example_is_installed_found_by_name_and_keeps_the_contract(tmp_path: Path) -> None:
    built, installed = tmp_path / "built", tmp_path / "installed"
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", built]
    subprocess.run(build, cwd=EXAMPLE, check=True, capture_output=True, timeout=100)  # type: ignore[arg-type]
    [wheel] = built.iterdir()
    zipfile.ZipFile(wheel).extractall(installed)
    assert (installed / "torpor_nimbus.py").read_text() == (
        EXAMPLE / "torpor_nimbus.py"
    ).read_text()
    tests = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--import-mode=importlib",
    ]
    done = subprocess.run(
        [*tests, "test_torpor_nimbus.py"],
        cwd=EXAMPLE,
        env=os.environ | {"PYTHONPATH": str(installed)},
        check=False,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_example_is_short_enough_to_be_read() -> None:
    assert len((EXAMPLE / "torpor_nimbus.py").read_text().splitlines()) < 150


def test_the_page_names_what_there_is() -> None:
    page = (DOCS / "provisioners.md").read_text()
    for name in ("torpor_nimbus.py", "pyproject.toml", "test_torpor_nimbus.py"):
        assert f"examples/torpor-nimbus/{name}" in page
        assert (EXAMPLE / name).is_file()
