"""`python -m torpor_provisioner.local DATA`: the satellites that a router has left on this machine.

They outlive it, frozen ones too. With --stop every one of them is ended; disks stay, and the next
wake starts them again.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from torpor_provisioner.errors import Gone, ProvisionerError
from torpor_provisioner.local.machine_folder import MachineFolder
from torpor_provisioner.local.settings import LocalSettings


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m torpor_provisioner.local")
    parser.add_argument("data", type=Path, help="the router's data folder (its --data)")
    parser.add_argument("--stop", action="store_true", help="end them all; their disks stay")
    options = parser.parse_args()
    machine_folder = MachineFolder((options.data / "local").resolve(), LocalSettings())
    try:
        machines = machine_folder.machines()
    except OSError as error:
        parser.error(f"{error.filename}: {error.strerror}")
    failed = False
    for name, machine in machines:
        try:
            if options.stop:
                machine.end()
            seen = machine.observe()
        except Gone:
            continue
        except ProvisionerError as error:
            print(f"{name}  {machine.ref}  {error}", file=sys.stderr)  # noqa: T201
            failed = True
        else:
            state = " ".join(filter(None, (seen.state, seen.sleep_kind)))
            print(f"{name}  {machine.ref}  {state}")  # noqa: T201 - its answer
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
