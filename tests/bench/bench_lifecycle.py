"""What the lifecycle costs: queries, first calls, releases, crowds, the reaper.

    python tests/bench/bench_lifecycle.py [--short]

prints a table and writes docs/bench-lifecycle.md. Everything runs on this machine and in this
process but Postgres: nodes, doors, machines that start at once, and workers.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

import uvloop
from lifecyclebench import rows
from lifecyclebench.forwarding import forwards
from lifecyclebench.gate import crowds, first_calls, hot_path
from lifecyclebench.reaping import reaping
from lifecyclebench.rows import Row
from lifecyclebench.stage import Bench

from torpor_statemachine.postgres.embedded import EmbeddedPostgres

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "bench-lifecycle.md"


async def measure(short: bool) -> list[Row]:
    measured: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="lifecyclebench-") as folder:
        Path(folder).chmod(0o755)
        async with EmbeddedPostgres(Path(folder) / "postgres").running() as server:
            for part in (hot_path, first_calls, forwards, crowds, reaping):
                async with AsyncExitStack() as stack:
                    found = await part(Bench(server, stack, short=short))
                print(*(f"{row.what}: {row.measured}" for row in found), sep="\n", flush=True)
                measured += found
    return measured


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--short", action="store_true", help="fewer of each; no page is written")
    asked = parser.parse_args()
    busy = os.getloadavg()[0]
    measured = uvloop.run(measure(asked.short))
    print(f"\n{rows.table(measured)}")
    if not asked.short:
        rows.write(PAGE, measured, busy)


if __name__ == "__main__":
    main()
