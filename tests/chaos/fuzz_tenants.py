"""Fuzz two tenants of one deployment: ``python tests/chaos/fuzz_tenants.py --seconds 900``.

Two nodes, one with TLS and client certificates, real tokens, and local satellites whose workers
break rules; clients of both tenants that break more. All that a tenant says, in certificates,
headers, messages and trailers, has its canary in it. It never comes to the other's client or
worker, and no credential comes to any worker; each call gets its own answer; no node fails, grows
or keeps anything.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tenantfuzz.run import fuzz


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="for so long [60]")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    options = parser.parse_args()
    print(f"from seed {options.seed}", flush=True)
    with TemporaryDirectory(prefix="tenants-") as folder:
        outcome = asyncio.run(fuzz(Path(folder), options.seconds, options.seed))
    for name, value in outcome.figures.items():
        print(f"{name}: {value}")
    for each in outcome.broken[:20]:
        print(f"BROKEN: {each}", file=sys.stderr)
    print(f"{len(outcome.broken)} things did not hold")
    return 1 if outcome.broken else 0


if __name__ == "__main__":
    sys.exit(main())
