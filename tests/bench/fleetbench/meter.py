"""What a Postgres has cost: CPU of all its processes, octets of its log."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from torpor_statemachine.postgres.pool import Database

_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cost:
    """Seconds of CPU, octets of WAL."""

    cpu: float = 0.0
    wal: float = 0.0

    def __sub__(self, other: Cost) -> Cost:
        return Cost(self.cpu - other.cpu, self.wal - other.wal)

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.cpu + other.cpu, self.wal + other.wal)

    def __mul__(self, times: float) -> Cost:
        return Cost(self.cpu * times, self.wal * times)


class Meter:
    """Reads what the server behind `database` has cost since it began."""

    def __init__(self, database: Database, postmaster: int) -> None:
        self._database = database
        self._postmaster = postmaster

    @classmethod
    async def of(cls, database: Database) -> Self:
        backend = await database.fetchval("select pg_backend_pid()")
        return cls(database, _parent(backend))

    async def read(self) -> Cost:
        wal = await self._database.fetchval(
            "select pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::float8"
        )
        return Cost(self._cpu(), wal)

    def _cpu(self) -> float:
        """Of the living by the nanosecond, of those that have ended by the tick."""
        ended = sum(map(int, _stat(self._postmaster)[13:15])) / _TICK
        return ended + sum(map(_ran, [self._postmaster, *_children(self._postmaster)]))


def _children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _ran(pid: int) -> float:
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
    except FileNotFoundError:
        return 0.0  # it has just ended


def _parent(pid: int) -> int:
    return int(_stat(pid)[1])


def _stat(pid: int) -> list[str]:
    """proc(5), from the state on: the name before it may have any character."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
