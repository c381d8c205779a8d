"""The core's cost of a call, by client; test_relay_cost.py has the bounds."""

from __future__ import annotations

import argparse

from corebench.cost import bytecodes, core, cpu, seconds
from corebench.traffic import KINDS


def main() -> None:
    parser = argparse.ArgumentParser(prog="corebench", description=__doc__)
    parser.add_argument("--together", type=int, default=25, help="calls in one read")
    parser.add_argument("--calls", type=int, default=5_000)
    options = parser.parse_args()
    loads = [("h2load", False), *((kind, True) for kind in KINDS)]
    for kind, differ in loads:
        prepare = core(kind, differ=differ, calls=options.calls, together=options.together)
        few = core(kind, differ=differ, calls=100, together=options.together)
        print(
            f"{kind:10}{'differ' if differ else 'same':8}"
            f"{seconds(prepare, options.calls) * 1e6:7.2f} µs"
            f"{cpu(prepare, options.calls):8.1f} x the loop"
            f"{bytecodes(few()) / 100:8.0f} bytecodes"
        )


if __name__ == "__main__":
    main()
