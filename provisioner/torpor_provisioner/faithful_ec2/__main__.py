"""`python -m torpor_provisioner.faithful_ec2 FOLDER`: serve until standard input ends.

Once it listens it writes one line of JSON: the environment of a router that is to use it.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

from torpor_provisioner.faithful_ec2.timing import Timing
from torpor_provisioner.faithful_ec2.workers import ProcessWorkers
from torpor_provisioner.local.settings import SAMPLE_ON_PORT, WorkerCommand

# Not the door's: a router that listens on every address would answer for a worker that is down.
WORKER_PORT = 18372


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m torpor_provisioner.faithful_ec2")
    parser.add_argument("folder", type=Path, help="for the workers' data")
    parser.add_argument("--deployment", default="demo", help="tag on every machine")
    parser.add_argument("--port", type=int, default=0, help="to listen on; 0: any free port")
    parser.add_argument("--speed", type=float, default=1.0, help="how much faster time passes")
    parser.add_argument("--timing", type=json.loads, default={}, help="some of Timing, as JSON")
    parser.add_argument(
        "--worker", type=WorkerCommand.parse, default=SAMPLE_ON_PORT, help="command line"
    )
    parser.add_argument("--worker-port", type=int, default=WORKER_PORT, help="of all workers")
    options = parser.parse_args()
    from torpor_provisioner.faithful_ec2.server import FaithfulEc2
    from torpor_provisioner.faithful_ec2.stage import set_up

    server = FaithfulEc2(
        port=options.port,
        speed=options.speed,
        timing=replace(Timing(), **options.timing),
        workers=ProcessWorkers(options.folder, options.worker_port, options.worker),
    )
    with server:
        environ = set_up(server.endpoint).environ(options.deployment, PORT=str(options.worker_port))
        print(json.dumps(environ), flush=True)  # noqa: T201 - for its parent
        sys.stdin.read()


if __name__ == "__main__":
    main()
