"""Torpor's door."""

from __future__ import annotations

import sys
from contextlib import ExitStack

from doorbench import worker
from doorbench.load import Target
from doorbench.machine import free_port
from doorbench.subject import CREDENTIALS, Subject, ports


class Torpor(Subject):
    name = "Torpor"
    holds = True

    def start(self, stack: ExitStack) -> None:
        plain, tls = ports()
        behind = free_port()
        chain, key = self.bench.certificate
        self.run(stack, *worker.command(str(behind)), load=True)
        self.run(
            stack, sys.executable, "-m", "doorbench.door", *map(str, (plain, tls, behind)),
            str(chain), str(key), str(self._asleep),
        )  # fmt: skip
        self.target = Target(plain, tls, CREDENTIALS)
        self.await_port(plain)
        self.await_port(tls)
