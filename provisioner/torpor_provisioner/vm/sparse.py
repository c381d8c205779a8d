"""Files that are mostly holes: a machine's memory. What it costs is its blocks, not its length."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from torpor_provisioner.vm.errors import DiskFull

_FICLONE = 0x40049409  # ioctl_ficlone(2)
_KEEP_SIZE, _PUNCH_HOLE = 1, 2  # fallocate(2)
_PIECE = 8 << 20
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}


def reserve(file: Path, size: int) -> None:
    """Make it `size` octets long, with room on the disk for every one of them.

    The guest writes to its memory as it likes: where a block is missing then, its hypervisor dies
    (SIGBUS). So the room is taken while it is awake, and given back by `release`.

    Raises:
        DiskFull: there is none. The file is as it was.
    """
    opened = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    before = os.fstat(opened).st_size
    try:
        os.posix_fallocate(opened, 0, size)
    except OSError as error:
        if error.errno in _NO_ROOM:
            _punch(opened, holes(opened, before))
            if before == 0:
                file.unlink()
            raise DiskFull(f"{size >> 20} MiB for its memory: {error.strerror}") from error
        os.ftruncate(opened, size)  # a file system that cannot reserve
    finally:
        os.close(opened)


def release(file: Path) -> None:
    """Give back what `reserve` took and nobody has written to; nothing happens without the file."""
    try:
        opened = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        _punch(opened, holes(opened, os.fstat(opened).st_size))
    finally:
        os.close(opened)


def copy(source: Path, target: Path) -> None:
    """By reference where the file system can; else block by block, and holes stay holes.

    Raises:
        DiskFull: there is no room for it.
    """
    with source.open("rb") as old, target.open("wb") as new:
        try:
            fcntl.ioctl(new.fileno(), _FICLONE, old.fileno())
        except OSError:
            try:
                _copy(old.fileno(), new.fileno())
            except OSError as error:
                if error.errno in _NO_ROOM:
                    raise DiskFull(f"{target.name}: {error.strerror}") from error
                raise


def blocks(file: Path) -> int:
    """Octets that it takes on the disk; none, if it is not there."""
    try:
        return file.stat().st_blocks * 512
    except FileNotFoundError:
        return 0


def data(file: int) -> Iterator[tuple[int, int]]:
    """Where there is something: begin and end of each piece."""
    at, size = 0, os.fstat(file).st_size
    while at < size:
        try:
            begin = os.lseek(file, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing from here on
                return
            raise
        at = os.lseek(file, begin, os.SEEK_HOLE)
        yield begin, at


def holes(file: int, size: int) -> list[tuple[int, int]]:
    found, at = [], 0
    for begin, end in data(file):
        if begin > at:
            found.append((at, begin))
        at = end
    if at < size:
        found.append((at, size))
    return found


def _copy(old: int, new: int) -> None:
    size = os.fstat(old).st_size
    os.ftruncate(new, size)
    for begin, end in list(data(old)):
        at = begin
        while at < end:
            at += _copy_piece(old, new, min(_PIECE, end - at), at)


def _copy_piece(old: int, new: int, count: int, at: int) -> int:
    try:
        return os.copy_file_range(old, new, count, at, at)
    except OSError as error:
        if error.errno not in {errno.EXDEV, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}:
            raise
        return os.pwrite(new, os.pread(old, count, at), at)  # from one file system to another


def _punch(file: int, ranges: list[tuple[int, int]]) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    for begin, end in ranges:
        with suppress(OSError):
            libc.fallocate(
                file,
                _KEEP_SIZE | _PUNCH_HOLE,
                ctypes.c_longlong(begin),
                ctypes.c_longlong(end - begin),
            )
