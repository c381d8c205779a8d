"""The log of calls that had an effect: what the machines were really asked to do.

Written one line a call, and never read by the provisioner itself: it is what tests and people
count wakes with. A line is written just before its effect is; should the writer be killed in
between, the next one writes the same number again, and the reader counts both as one.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

FILE = "calls.jsonl"


@dataclass(frozen=True, slots=True)
class Call:
    """`number` counts the calls of one machine; `how` says hibernated, stopped, resumed, ..."""

    ref: str
    number: int
    satellite: str  # org/name
    call: str  # launch, wake, sleep, terminate
    how: str = ""
    at: str = ""  # ISO 8601, UTC
    by: int = 0  # pid of the caller


def write_call(folder: Path, call: Call) -> None:
    """Append one line, in one write: lines of several processes do not mix."""
    stored = asdict(call) | {"at": datetime.now(UTC).isoformat(), "by": os.getpid()}
    file = os.open(folder / FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(file, json.dumps(stored).encode() + b"\n")
    finally:
        os.close(file)


def read_calls(folder: Path) -> list[Call]:
    """Every call that had an effect, in order; `folder` is the provisioner's data folder."""
    try:
        lines = (folder / FILE).read_text().splitlines()
    except FileNotFoundError:
        return []
    calls = (Call(**json.loads(line)) for line in lines)
    return list({(call.ref, call.number): call for call in calls}.values())
