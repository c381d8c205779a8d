"""What was measured, as tables and as a page of the documentation."""

from __future__ import annotations

import math
import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

from ec2bench.crowd import Rush
from ec2bench.wakes import Wake


def write(page: Path, wakes: str, crowd: str) -> None:
    page.write_text(WORDS.format(wakes=wakes, crowd=crowd, machine=_machine()))


def wakes_table(measured: dict[str, list[Wake]]) -> str:
    head = (
        "wake",
        "n",
        "own, p50",
        "added, p50",
        "added, p95",
        "most",
        "whole / own",
    )
    return _table(
        head,
        (
            (
                kind,
                str(len(them)),
                ms(statistics.median(one.own for one in them)),
                ms(statistics.median(one.added for one in them)),
                ms(p95([one.added for one in them])),
                ms(max(one.added for one in them)),
                f"{statistics.median(one.whole / one.own for one in them):.2f}",
            )
            for kind, them in measured.items()
        ),
    )


def crowd_table(measured: Iterable[Rush]) -> str:
    head = (
        "the bucket of machines",
        "left",
        "allowed",
        "took",
        "took / allowed",
        "requests",
        "refused",
    )
    return _table(
        head,
        (
            (
                one.what,
                str(one.left),
                f"{one.allowed:.0f} s",
                f"{one.took:.1f} s",
                f"{one.took / one.allowed:.3f}" if one.allowed else "",
                str(one.requests),
                str(one.refused),
            )
            for one in measured
        ),
    )


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(head), ["---"] * len(list(head)), *map(list, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


def p95(values: Sequence[float]) -> float:
    return sorted(values)[max(0, math.ceil(0.95 * len(values)) - 1)]


def _machine() -> str:
    return f"{os.cpu_count()} cores, Python {platform.python_version()}, {platform.system()}"


WORDS = """\
# What Torpor adds to EC2

Written by `python tests/bench/bench_ec2.py` on {machine}.
AWS is played here: a faithful EC2 in a process of its own
(`torpor_provisioner.faithful_ec2`), real workers on loopback addresses, a real Postgres, and one
node's lifecycle and provisioner as they run in a router.

## One wake

From a request that finds its satellite asleep to its release: `whole`. From EC2's acceptance of
StartInstances to the first moment at which the worker can answer: `own`, by a second observer that
asks without a pause. `added` is the difference: the claim, the call, the probes (50 ms apart) and
the completion. EC2's own times pass ten times as fast as they do there, so the absolute is what
counts; a real call to EC2 takes some 100 to 300 ms more than one on loopback.

{wakes}

The machine is shared and noisy: other work kept its cores busy. The goal is 150 ms at p95.

## Five hundred at once

500 sleeping satellites are woken in the same instant under AWS's published throttles, on the real
clock: StartInstances has a bucket of 5 requests refilled by 2 a second, and one of 1,000 machines
refilled by 2 a second. `left` are the machines' tokens at the start; `allowed` is when AWS has had
a token for the last one. In the last row this node does not know that others have used them, and
learns it from refusals. Without batches the 500 requests alone would take 248 s.

{crowd}

The goal is 1.10 times what is allowed.
"""
