"""One image: its files, and what is written down of it."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from torpor_provisioner.vm.errors import NoImage

FILE = "image.json"
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,62}")


@dataclass(frozen=True, slots=True)
class Image:
    """`append` is the kernel's command line; `memory` the least that its machines need, in MiB."""

    folder: Path
    append: str
    memory: int

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def kernel(self) -> Path:
        return self.folder / "vmlinuz"

    @property
    def initrd(self) -> Path:
        return self.folder / "initrd"

    @property
    def disk(self) -> Path:
        return self.folder / "disk"

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    def describe(self) -> str:
        stored = asdict(self)
        del stored["folder"]
        return json.dumps(stored)


def find(images: Path, name: str) -> Image:
    """The image of that name.

    Raises:
        NoImage: there is none, or it is damaged.
    """
    if not _NAME.fullmatch(name):  # it becomes a path
        raise NoImage(f"{name!r} is no name of an image")
    folder = (images / name).resolve()
    try:
        stored = json.loads((folder / FILE).read_text())
        return Image(folder, append=stored["append"], memory=stored["memory"])
    except FileNotFoundError:
        raise NoImage(f"{name!r}; there are {names(images)}") from None
    except (ValueError, TypeError, KeyError) as error:
        raise NoImage(f"{folder / FILE} cannot be read: {error}") from error


def names(images: Path) -> list[str]:
    """Those that are there, whole."""
    return sorted(
        file.parent.name for file in images.glob(f"*/{FILE}") if not file.parent.is_symlink()
    )


def made_once(images: Path, name: str, make: Callable[[Path], Image]) -> Image:
    """The image of that name, made by `make` in a new folder if it is not there.

    Of several processes one makes it, and the others wait. Half an image is never seen.
    """
    if not (images / name / FILE).exists():
        with locked(images / ".lock"):
            if not (images / name / FILE).exists():
                part = images / f".{name}.part"
                shutil.rmtree(part, ignore_errors=True)
                part.mkdir(parents=True)
                (part / FILE).write_text(make(part).describe())
                part.replace(images / name)
    return find(images, name)


def call(images: Path, name: str, image: Image) -> None:
    """Have `name` mean this image, for satellites that are launched from now on."""
    with locked(images / ".lock"):
        link = images / f".{name}.new"
        link.unlink(missing_ok=True)
        link.symlink_to(image.name)
        link.replace(images / name)


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold the lock that `file` is. Blocking."""
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
