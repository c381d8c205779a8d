"""What one call costs the relay's core: CPU time beside a loop of the same run, and bytecodes.

CPU time differs from machine to machine and is noisy on a shared one. So `cpu` tells it as a
multiple of what a fixed piece of Python takes, both measured in turns, the least of each; and
`bytecodes` counts what the interpreter executes, which is the same on any machine at any load.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from struct import Struct
from time import process_time
from types import FrameType
from typing import Any

from corebench.core import Core
from corebench.traffic import requests

_HEADER = Struct(">IBI")


def core(kind: str, *, differ: bool, calls: int, together: int) -> Callable[[], Callable[[], None]]:
    """Prepares one round of calls, and then runs it."""
    made = Core()
    blocks = requests(kind, differ=differ)
    made.begin(next(blocks))
    made.pass_calls(made.reads(blocks, 4 * together, together))  # what is known by then is known

    def prepare() -> Callable[[], None]:
        reads = made.reads(blocks, calls, together)

        def run() -> None:
            made.pass_calls(reads)
            assert not made.world.inside, "calls were left open"
            assert not made.world.waiting, "calls have waited"

        return run

    return prepare


def calibration(rounds: int = 2_000) -> None:
    """Something of each kind of work that the relay does."""
    data = b"".join(_HEADER.pack(8 << 8 | each % 7, 4, each) + bytes(8) for each in range(20))
    known: dict[bytes, int] = {}
    for _ in range(rounds // 20):
        at, parts = 0, []
        while len(data) - at >= 9:
            word, flags, stream = _HEADER.unpack_from(data, at)
            octets = data[at + 9 : at + 9 + (word >> 8)]
            if flags & 4:
                known[octets] = known.get(octets, 0) + stream
            parts.append(octets)
            at += 9 + (word >> 8)
        b"".join(parts)


def cpu(prepare: Callable[[], Callable[[], None]], calls: int, rounds: int = 7) -> float:
    """CPU time of a call, in rounds of the calibration's loop."""
    ours, theirs = [], []
    for _ in range(rounds):
        run = prepare()
        theirs.append(_timed(calibration) / 2_000)
        ours.append(_timed(run) / calls)
    return min(ours) / min(theirs)


def seconds(prepare: Callable[[], Callable[[], None]], calls: int, rounds: int = 7) -> float:
    """CPU seconds of a call: the least of some rounds."""
    return min(_timed(prepare()) / calls for _ in range(rounds))


def _timed(run: Callable[[], None]) -> float:
    began = process_time()
    run()
    return process_time() - began


def bytecodes(run: Callable[[], None]) -> int:
    """How many the interpreter executes."""
    count = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        run()
    finally:
        sys.settrace(before)
    return count
