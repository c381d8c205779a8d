"""What may be the worker of a small image: the sample worker, or BuildKit where its binary is."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from torpor_provisioner.vm.errors import ImageNotMade
from torpor_provisioner.vm.image import runtime

GUEST = Path(__file__).parent / "guest"
AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")


class Worker(Protocol):
    """`name` is the image's, and of the program in `guest` that starts it."""

    @property
    def name(self) -> str: ...

    @property
    def memory(self) -> int:
        """MiB that it needs at least."""
        ...

    @property
    def cache(self) -> str:
        """The size of the second disk, which is sparse."""
        ...

    @property
    def modules(self) -> tuple[str, ...]:
        """Of the kernel, beside those of the machine."""
        ...

    def files(self) -> Iterator[Path]:
        """What its image is made of.

        Raises:
            ImageNotMade: a part of it is not here.
        """
        ...

    def lay(self, root: Path) -> None:
        """Copy it there; the machine's Python lies there already, with the sample worker."""
        ...


@dataclass(frozen=True, slots=True)
class Sample:
    name: str = "tiny"
    memory: int = 128
    cache: str = "8G"
    modules: tuple[str, ...] = ()

    def files(self) -> Iterator[Path]:
        yield from sorted((runtime.PACKAGE / "sample").rglob("*.py"))

    def lay(self, root: Path) -> None:
        pass


@dataclass(frozen=True, slots=True)
class BuildKit:
    """From `folder`, laid out as the folder `bin` of BuildKit's releases: buildkitd, buildctl and
    buildkit-runc; for the last one this machine's own runc will do."""

    folder: Path
    name: str = "buildkit"
    memory: int = 512
    cache: str = "64G"
    modules: tuple[str, ...] = ("overlay",)

    def files(self) -> Iterator[Path]:
        yield from self._programs().values()

    def lay(self, root: Path) -> None:
        for name, source in self._programs().items():
            target = root / "usr/bin" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
            target.chmod(0o755)
        runtime.lay_libraries(root, *self._programs().values())
        if AUTHORITIES.exists():
            target = root / AUTHORITIES.relative_to("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(AUTHORITIES, target)

    def _programs(self) -> dict[str, Path]:
        found = {name: self.folder / name for name in ("buildkitd", "buildctl", "buildkit-runc")}
        if not found["buildkit-runc"].exists():
            found["buildkit-runc"] = Path(shutil.which("runc") or found["buildkit-runc"])
        if lacking := [str(path) for path in found.values() if not path.is_file()]:
            raise ImageNotMade(f"{', '.join(lacking)} is not there")
        return found


def checksum(files: Iterator[Path]) -> bytes:
    """Of names and contents, in order."""
    found = hashlib.sha256()
    for file in files:
        found.update(file.name.encode())
        with file.open("rb") as read:
            found.update(hashlib.file_digest(read, "sha256").digest())
    return found.digest()
