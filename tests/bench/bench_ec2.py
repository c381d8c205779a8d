"""What Torpor adds to EC2: to one wake, and to five hundred at once.

    python tests/bench/bench_ec2.py [--short]

prints two tables and writes docs/bench-ec2.md. Everything runs on this machine: a faithful EC2 with
real workers in a process of its own, a Postgres, and here one node's lifecycle and provisioner.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from pathlib import Path

from ec2bench import page
from ec2bench.crowd import rushes
from ec2bench.page import ms, p95
from ec2bench.wakes import wakes

from torpor_statemachine.lifecycle.states import SleepMode

PAGE = Path(__file__).parents[2] / "docs" / "bench-ec2.md"
WAKES_GOAL = 0.150  # seconds that Torpor may add, 95 of 100 times
CROWD_GOAL = 1.10  # times what the throttle allows


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--short", action="store_true", help="a minute, and no page is written")
    asked = parser.parse_args()
    number, left = (5, 460) if asked.short else (30, 300)
    measured = {}
    for kind, mode in (("resumed", SleepMode.HIBERNATE), ("started", SleepMode.STOP)):
        with tempfile.TemporaryDirectory() as folder:
            measured[kind] = asyncio.run(wakes(Path(folder), number, mode))
    with tempfile.TemporaryDirectory() as folder:
        rushed = asyncio.run(rushes(Path(folder), left))
    tables = (page.wakes_table(measured), page.crowd_table(rushed))
    print(*tables, sep="\n\n")
    if not asked.short:
        page.write(PAGE, wakes=tables[0], crowd=tables[1])
    worst = max(p95([one.added for one in them]) for them in measured.values())
    late = rushed[1].took / rushed[1].allowed
    print(f"\nadded at p95: {ms(worst)} of {ms(WAKES_GOAL)}; crowd: {late:.3f} of {CROWD_GOAL}")


if __name__ == "__main__":
    main()
