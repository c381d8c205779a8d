"""Unpacks a source archive from someone else, and lets nothing out of the workspace.

Every member is checked before it is written, and what reaches out is refused, not repaired: an
archive that tries is either broken or hostile. Python's own `data` filter (PEP 706) stands
behind these checks where the interpreter has it (3.11.4 and newer).
"""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

MAX_FILES = 200_000
GZIP_MAGIC = b"\x1f\x8b"


class BadArchive(ValueError):
    """The archive cannot be read, or reaches out of its workspace."""


class ArchiveTooLarge(BadArchive):
    """It holds more than the worker takes."""


def unpack(archive: IO[bytes], workspace: Path, *, max_bytes: int) -> int:
    """Write the members of a tar or tar.gz below `workspace`; returns how many.

    Raises:
        BadArchive: with what is wrong. Members before that one have been written.
    """
    archive.seek(0)
    if not archive.read(1):
        return 0
    archive.seek(0)
    compressed = archive.read(2) == GZIP_MAGIC
    archive.seek(0)
    try:
        with tarfile.open(fileobj=archive, mode="r:gz" if compressed else "r:") as tar:
            return _write(tar, workspace, max_bytes)
    except (tarfile.TarError, EOFError, zlib.error, OSError, UnicodeError) as error:
        raise BadArchive(f"the archive cannot be unpacked: {error}") from error


def _write(tar: tarfile.TarFile, workspace: Path, max_bytes: int) -> int:
    if hasattr(tarfile, "data_filter"):
        tar.extraction_filter = staticmethod(tarfile.data_filter)
    count = 0
    for member in _checked(tar, max_bytes):
        tar.extract(member, workspace, set_attrs=not member.issym())
        count += 1
    return count


def _checked(tar: tarfile.TarFile, max_bytes: int) -> Iterator[tarfile.TarInfo]:
    links: set[PurePosixPath] = set()
    total = 0
    for number, member in enumerate(tar, start=1):
        total += member.size
        if total > max_bytes or number > MAX_FILES:
            raise ArchiveTooLarge(
                f"the archive unpacks to more than {max_bytes} bytes or {MAX_FILES} files"
            )
        _check(member, links)
        if member.issym() or member.islnk():
            links.add(PurePosixPath(member.name))
        yield member


def _check(member: tarfile.TarInfo, links: set[PurePosixPath]) -> None:
    path = _inside(member.name)
    if any(parent in links for parent in (path, *path.parents)):
        raise BadArchive(f"{member.name!r} goes through a link")
    if member.issym():
        _check_target(member, path)
    elif member.islnk():
        _inside(member.linkname)
    elif not (member.isreg() or member.isdir()):
        raise BadArchive(f"{member.name!r} is neither a file, a folder nor a link")


def _inside(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise BadArchive(f"{name!r} lies outside the workspace")
    return path


def _check_target(member: tarfile.TarInfo, path: PurePosixPath) -> None:
    # ".." may only stand in front: no parent of a member is a link, so those steps up are exact,
    # while a later one could start from wherever another link leads.
    target = PurePosixPath(member.linkname)
    ups = 0
    for part in target.parts:
        if part != "..":
            break
        ups += 1
    depth = len(path.parts) - 1
    if target.is_absolute() or ups > depth or ".." in target.parts[ups:]:
        raise BadArchive(f"{member.name!r} links out of the workspace, to {member.linkname!r}")
