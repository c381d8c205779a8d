"""Fuzz the relay's core without sockets: ``python tests/chaos/fuzz_relay.py --seconds 120``.

Sessions of a client, a worker and a fleet that sleeps and wakes are made up from a seed, damaged
in some places, cut into reads at random, and fed to a pair. Whatever comes: only
`ConnectionFault` may escape, what goes out is well-formed HTTP/2, a worker never sees a stream
twice, out of order, or of another satellite, and in the end everybody who was counted in has
been counted out. A failure prints the options that repeat it.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "kit"))

from relayfuzz.session import Session


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="for so long [60]")
    parser.add_argument("--sessions", type=int, help="at most so many")
    parser.add_argument("--seed", type=int, help="the first session's; each has the next one")
    options = parser.parse_args()
    start = random.randrange(1 << 40) if options.seed is None else options.seed
    print(f"from seed {start}", flush=True)
    count, until = 0, time.monotonic() + options.seconds
    while count != options.sessions and time.monotonic() < until:
        try:
            Session(start + count).run()
        except Exception:
            repeat = f"--seed {start + count} --sessions 1"
            print(f"failed after {count} sessions; repeat with {repeat}", file=sys.stderr)
            raise
        count += 1
    print(f"{count} sessions, 0 failed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
