"""This machine's own Python with the sample worker, as files for a guest.

They lie in the guest where they lie here, shared libraries too: nothing has to be relocated.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

import torpor_provisioner

PACKAGES = (
    *("grpcio", "grpcio-health-checking", "grpcio-reflection", "protobuf"),
    "typing-extensions",
)
PACKAGE = Path(str(torpor_provisioner.__file__)).parent
OWN = ("__init__.py", "py.typed", "sample")
# Of the standard library, what a worker has no use for.
_LEFT_OUT = (
    *("test", "tests", "idlelib", "tkinter", "turtledemo", "lib2to3", "ensurepip", "pydoc_data"),
    *("site-packages", "dist-packages", "__pycache__", "config-*", "*.a"),
)


def program() -> Path:
    """The interpreter, here and in the guest."""
    return (
        Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    )


def versions() -> str:
    """What the runtime is made of."""
    return f"{sys.version} " + " ".join(f"{p} {distribution(p).version}" for p in PACKAGES)


def lay(root: Path) -> None:
    """Copy all of it below `root`."""
    stdlib = Path(sysconfig.get_path("stdlib", vars={"installed_base": sys.base_prefix}))
    _tree(stdlib, root)
    dynload = Path(sysconfig.get_path("platstdlib", vars={"platbase": sys.base_exec_prefix}))
    if dynload != stdlib:
        _tree(dynload, root)
    site = _below(root, stdlib) / "site-packages"
    for package in PACKAGES:
        _installed(package, site)
    for name in OWN:
        source = PACKAGE / name
        target = site / "torpor_provisioner" / name
        target.parent.mkdir(exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns(*_LEFT_OUT))
        else:
            shutil.copy(source, target)
    _one(program().resolve(), root)
    if (alias := _below(root, program())) != _below(root, program().resolve()):
        alias.parent.mkdir(parents=True, exist_ok=True)
        alias.symlink_to(program().resolve())
    lay_libraries(root, program(), *root.rglob("*.so"))
    # Under emulation to compile at the first start would take longer than the start.
    subprocess.run(  # noqa: S603 - our own Python
        [
            *(sys.executable, "-m", "compileall", "-q", "-j", "0"),
            *("--invalidation-mode", "unchecked-hash"),
            *("-s", str(root), str(_below(root, stdlib))),
        ],
        check=False,  # some of a standard library's own files are not meant to compile
        stdout=subprocess.DEVNULL,
    )


def lay_libraries(root: Path, *programs: Path) -> None:
    """Copy the shared libraries that these need."""
    for library in sorted(set(_libraries(*programs))):
        _one(library, root)


def _tree(source: Path, root: Path) -> None:
    shutil.copytree(
        source,
        _below(root, source),
        ignore=shutil.ignore_patterns(*_LEFT_OUT),
        dirs_exist_ok=True,
    )


def _installed(package: str, site: Path) -> None:
    found = distribution(package)
    for file in found.files or ():
        source = Path(str(file.locate()))
        if ".." not in file.parts and "__pycache__" not in file.parts and source.is_file():
            target = site / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)


def _libraries(*programs: Path) -> Iterator[Path]:
    for each in programs:
        listed = subprocess.run(  # noqa: S603 - files of our own
            ["ldd", str(each)],  # noqa: S607 - it stands in PATH
            capture_output=True,
            text=True,
            check=False,  # a library for another machine has none
        ).stdout
        for found in re.finditer(r"(/\S+) \(0x", listed):
            yield Path(found[1])


def _one(file: Path, root: Path) -> None:
    target = _below(root, file)
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)  # follows links: a library lies under the name it is loaded by


def _below(root: Path, path: Path) -> Path:
    return root / path.relative_to("/")
