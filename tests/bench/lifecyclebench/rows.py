"""What was measured, against its bar, as a page of the documentation."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Row:
    what: str
    bar: str
    measured: str
    kept: bool


def at(values: Sequence[float], share: float) -> float:
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def ms(seconds: float) -> str:
    return f"{seconds * 1e3:.1f} ms"


def table(rows: Sequence[Row]) -> str:
    lines = ["| what | bar | measured | kept |", "|---|---|---|---|"]
    lines += [
        f"| {row.what} | {row.bar} | {row.measured} | {'yes' if row.kept else 'no'} |"
        for row in rows
    ]
    return "\n".join(lines)


def write(page: Path, rows: Sequence[Row], busy: float) -> None:
    machine = f"{os.cpu_count()} cores, Python {platform.python_version()}, {platform.system()}"
    page.write_text(WORDS.format(table=table(rows), machine=machine, busy=f"{busy:.1f}"))


WORDS = """\
# What the lifecycle costs

Written by `python tests/bench/bench_lifecycle.py` on {machine}, load {busy} before it began. The
machine is shared: times are of what it was busy with besides, and the bars are for an idle one.

{table}

- Postgres is the embedded one with its defaults: each commit is on the disk before it is told of.
- Nodes, doors, workers and clients share one process and one event loop here; in operation each
  node has its own. The cloud is in memory and answers at once.
- *First request to start call* is from `Gate.admit` to the provisioner's `wake`, with all of a
  node's other duties running: look at the row, claim (a commit), call. In turn with each, a bare
  `select 1` and a bare commit of one row on the same pool say what those cost on this machine at
  this time.
- *Worker answers to held request at the worker* is from the moment the worker listens until it has
  read the request's HEADERS, through the door: the probe that finds it (every 50 ms), the
  completion, the lease, the connection. Workers begin at every phase of the probes.
- *1,000 requests*: a fleet of 4 nodes, 250 requests each, one satellite, which answers a second
  after the start call. Three of the nodes learn of it through LISTEN.
- *A reaper's pass* finds those that are due and claims them for sleep, 100 in all; the work that
  follows is not part of it. The plan of its query is a test of its own.
"""
