"""Hosts whose client certificate was not believed a moment ago: a table of fixed size.

The processes of one host share it as mapped memory, for the next connection of a client may reach
any of them. They take no lock: a record that two of them write at once belongs to one of them, or
to no host.
"""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Callable
from hashlib import blake2b
from struct import Struct
from typing import IO, NamedTuple

_KEY = 16  # octets: without it, nobody can tell which hosts have a record in common
_RECORD = Struct("=16sddB")  # the host's digest; armed until; spent until; which reason
_RECORDS = 512
SIZE = _KEY + _RECORDS * _RECORD.size
REASONS = ("other CA", "wrong use", "other")

REMEMBERED = 30.0  # seconds: grpc's clients try again after 1, 2.6, 5.2, 9.3 and 16
SPENT = 5.0  # seconds in which no other connection of that host is given out

Buffer = bytearray | mmap.mmap


class _Record(NamedTuple):
    digest: bytes
    armed_until: float
    spent_until: float
    reason: int


class FailedHosts:
    """`table` has SIZE octets, of which the first are a random key."""

    def __init__(
        self, table: Buffer | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._table = bytearray(_new()) if table is None else table
        self._key = bytes(self._table[:_KEY])
        self._clock = clock  # the same in all processes

    def __repr__(self) -> str:
        return f"<FailedHosts {type(self._table).__name__}>"

    def remember(self, host: str, reason: str) -> None:
        """A handshake of the host's has failed. Another host's record that is spent stays."""
        digest, at, record = self._find(host)
        now = self._clock()
        spent_until = 0.0
        if record.digest == digest:
            spent_until = record.spent_until
        elif record.spent_until > now:
            return
        self._write(at, _Record(digest, now + REMEMBERED, spent_until, REASONS.index(reason)))

    def take(self, host: str) -> str | None:
        """Why, if the host is remembered; it is not again for as long as SPENT."""
        digest, at, record = self._find(host)
        now = self._clock()
        if record.digest != digest or record.armed_until <= now or record.spent_until > now:
            return None
        self._write(at, _Record(digest, 0.0, now + SPENT, record.reason))
        return REASONS[record.reason]

    def _find(self, host: str) -> tuple[bytes, int, _Record]:
        digest = blake2b(host.encode(), digest_size=16, key=self._key).digest()
        at = _KEY + int.from_bytes(digest[:4]) % _RECORDS * _RECORD.size
        return digest, at, _Record(*_RECORD.unpack_from(self._table, at))

    def _write(self, at: int, record: _Record) -> None:
        _RECORD.pack_into(self._table, at, *record)


def shared_table(file: IO[bytes]) -> None:
    """Make the open and empty `file` a table for several processes."""
    file.write(_new())
    file.flush()


def open_shared(descriptor: int) -> FailedHosts:
    """The table in a file that this process was given open."""
    try:
        return FailedHosts(mmap.mmap(descriptor, SIZE))
    finally:
        os.close(descriptor)


def _new() -> bytes:
    return os.urandom(_KEY) + bytes(SIZE - _KEY)
