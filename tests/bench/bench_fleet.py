"""What a fleet costs its Postgres, from 1,000 satellites to 100,000, before and now.

    python tests/bench/bench_fleet.py [--short]

prints a table and writes docs/bench-fleet.md and docs/bench-fleet.png. The short form takes a few
minutes, measures the ends of the range alone, and writes nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from pathlib import Path

import uvloop

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "kit"))

from fleetbench.alive import measure_at_rest, measure_burst  # noqa: E402 - the path above
from fleetbench.failover import Failover, measure_failover  # noqa: E402 - likewise
from fleetbench.notify import measure_notify  # noqa: E402 - likewise
from fleetbench.page import Found, bars, page  # noqa: E402 - likewise
from fleetbench.rest import SETTINGS, SIZES, measure_rest  # noqa: E402 - likewise
from lifecyclebench.rows import at, table  # noqa: E402 - likewise

from torpor_statemachine.postgres.embedded import EmbeddedPostgres  # noqa: E402 - below the kit

DOCS = ROOT / "docs"


async def measure(short: bool, failover: Failover) -> Found:
    with tempfile.TemporaryDirectory(prefix="fleetbench-") as folder:
        Path(folder).chmod(0o755)
        async with EmbeddedPostgres(Path(folder) / "postgres", settings=SETTINGS).running() as url:
            bursts = [await measure_burst(url) for _ in range(3)]
            burst = sorted(bursts, key=lambda each: at(each.took, 0.9))[1]
            print(f"{len(burst.took)} wakes: p90 {at(burst.took, 0.9):.2f} s", flush=True)
            at_rest = await measure_at_rest(url, SIZES[-1], 20.0 if short else 90.0)
            print(at_rest, flush=True)
            grown = await measure_rest(url, short)
            return Found(grown, await measure_notify(url, short), at_rest, burst, failover)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--short", action="store_true", help="a few minutes; no page is written")
    asked = parser.parse_args()
    busy = os.getloadavg()[0]
    failover = asyncio.run(measure_failover(SIZES[-1]))  # uvloop starts no process as another user
    print(failover, flush=True)
    found = uvloop.run(measure(asked.short, failover))
    print(f"\n{table(bars(found))}")
    if not asked.short:
        from fleetbench.plot import draw

        (DOCS / "bench-fleet.md").write_text(page(found, busy))
        draw(found.grown, DOCS / "bench-fleet.png")


if __name__ == "__main__":
    main()
