"""Checks on a real machine. They take most of an hour and root: `make machine` runs them.

They run in a network of their own, in which this process is the router, the metadata service and
the clock. All share one machine; each can be run alone: `make machine CHECK=firewall`.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

ASKED = os.environ.get("TORPOR_MACHINE") == "1"
collect_ignore_glob = [] if ASKED else ["test_*.py"]

if ASKED:
    from machinekit import cloud, image, satellite, vm

    @pytest.fixture(scope="session")
    def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[vm.Machine]:
        """A satellite, after its first boot."""
        _network()
        made = vm.Machine(tmp_path_factory.mktemp("machine"), image.made())
        with cloud.serving(satellite.user_data(image.worker())):
            made.power_on()
            try:
                made.until("test -e /var/lib/cloud/instance/boot-finished", vm.BOOTS_WITHIN)
                yield made
            finally:
                made.kill()

    def _network() -> None:
        addresses = (f"{cloud.ROUTER}/16", f"{cloud.METADATA}/32", f"{cloud.CLOCK}/32")
        steps = ["link set lo up", "tuntap add tap0 mode tap", "link set tap0 up"]
        steps += [f"addr add {address} dev tap0" for address in addresses]
        for step in steps:
            subprocess.run(["ip", *step.split()], check=True)
