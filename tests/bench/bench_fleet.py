"""What a fleet costs its Postgres, from 1,000 satellites to 100,000, before and now.

python tests/bench/bench_fleet.py [--short]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import uvloop

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "kit"))

from fleetbench.rest import measure_rest  # noqa: E402


async def measure(short: bool) -> None:
    with tempfile.TemporaryDirectory(prefix="fleetbench-") as folder:
        Path(folder).chmod(0o755)
        await measure_rest(Path(folder), short)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--short", action="store_true")
    uvloop.run(measure(parser.parse_args().short))


if __name__ == "__main__":
    main()
