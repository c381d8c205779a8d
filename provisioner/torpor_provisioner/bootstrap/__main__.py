"""Print a satellite's user data, or the script that bakes its image."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from torpor_provisioner.bootstrap import Machine, System, Worker, image_script, user_data
from torpor_provisioner.bootstrap.machine import BRIDGE
from torpor_provisioner.errors import Invalid


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m torpor_provisioner.bootstrap", description=__doc__
    )
    made.add_argument("what", choices=("user-data", "baked-user-data", "image-script"))
    made.add_argument("--system", type=System, choices=list(System), default=System.AL2023)
    made.add_argument("--worker", type=Worker, choices=list(Worker), default=Worker.BUILDKIT)
    made.add_argument("--cpu-percent", type=int, default=95, help="of all cores, for builds")
    made.add_argument("--memory-percent", type=int, default=85, help="of memory, for builds")
    made.add_argument("--cache-percent", type=int, default=80, help="of the volume, for the cache")
    made.add_argument(
        "--block-resolver", action="store_true", help="keep builds from the VPC's DNS"
    )
    made.add_argument("--resolver", action="append", default=[], help="another address of it")
    made.add_argument("--nameserver", action="append", default=[], help="for builds; repeat")
    made.add_argument("--bridge", default=BRIDGE, help="range of the builds' own network")
    made.add_argument(
        "--network", action="append", default=[], help="a range that the bridge must be clear of"
    )
    made.add_argument("--no-hibernate", action="store_true", help="it will only ever be stopped")
    made.add_argument("--ssh", action="store_true", help="leave SSH as the image has it")
    made.add_argument("--tls-secret", default="", help="secret with the worker's certificate")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    try:
        machine = Machine(
            system=options.system,
            worker=options.worker,
            cpu_percent=options.cpu_percent,
            memory_percent=options.memory_percent,
            cache_percent=options.cache_percent,
            block_resolver=options.block_resolver,
            resolvers=tuple(options.resolver),
            nameservers=tuple(options.nameserver),
            bridge=options.bridge,
            networks=tuple(options.network),
            hibernate=not options.no_hibernate,
            ssh=options.ssh,
            tls_secret=options.tls_secret,
        )
    except Invalid as error:
        sys.stderr.write(f"{error}\n")
        return 2
    if options.what == "image-script":
        sys.stdout.write(image_script(machine))
    else:
        sys.stdout.write(user_data(machine, baked=options.what == "baked-user-data"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
