"""Torpor as it is run: `torpor serve`, its Postgres, and a satellite of the `local` provisioner."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar

from doorbench import worker
from doorbench.load import Target
from doorbench.machine import Missing, free_port, pinned
from doorbench.subject import CREDENTIALS, SATELLITE, Subject, ports

COMPILED = Path(__file__).parents[3] / "bench-results/compiled"

_ORG, _, _NAME = SATELLITE.partition("/")
_MANY = "100000"
_LIMITS = (
    "--held-per-satellite",
    "--held-per-node",
    "--connections-per-caller",
    "--strangers-per-address",  # all load comes from one
)
# A worker that does not answer while the file is there: so its wake lasts as long as we want
_LATE = 'while [ -e "$0" ]; do sleep 0.05; done; exec "$@"'


class Torpor(Subject):
    """Two nodes over one database, one for plaintext and one for TLS, on the proxy's core.

    What a node asks (its Postgres) runs on that core too. A satellite that sleeps is stopped, and
    woken by the first request like any other.
    """

    name = "Torpor"
    holds = True
    limits: ClassVar[Sequence[str]] = _LIMITS  # that are out of the way of what is measured
    installed: ClassVar[Path | None] = COMPILED  # where its modules are; None: in the checkout

    def check(self) -> None:
        super().check()
        if self.installed is not None and not self.installed.is_dir():
            raise Missing(f"there is no {self.installed}: .ci/compiled --into {self.installed}")

    def start(self, stack: ExitStack) -> None:
        plain, tls = ports()
        self._data = self.folder / f"data-{plain}"
        chain, key = self.bench.certificate
        self._node(stack, plain)
        self.await_port(plain)
        self._node(stack, tls, "--tls-cert", str(chain), "--tls-key", str(key))
        self.await_port(tls)
        self._own("torpor", "org", "create", _ORG, "--data", str(self._data))
        made = self._own(
            "torpor", "token", "create", _ORG, "bench", "--data", str(self._data), "--json"
        )
        token = str(json.loads(made)["token"])
        self._client = {"TORPOR_ADDRESS": f"127.0.0.1:{plain}", "TORPOR_TOKEN": token}
        self._own("satellite", "launch", _NAME, "--sleep-mode", "stop", "--sleep-after", "1d")
        stack.callback(self._own, "satellite", "rm", _NAME, "--yes", "--force")
        self.target = Target(plain, tls, {**CREDENTIALS, "authorization": f"Bearer {token}"})

    def _node(self, stack: ExitStack, port: int, *options: str) -> None:
        limits = [word for limit in self.limits for word in (limit, _MANY)]
        self.run(
            stack, sys.executable, "-m", "torpor_router.cli.torpor", "serve",
            "--listen", f"127.0.0.1:{port}", "--metrics", f"127.0.0.1:{free_port()}",
            "--data", str(self._data), "--drain", "0", *limits, *options,
            environment={
                "TORPOR_LOCAL_WORKER": self._worker(),
                "TORPOR_LOCAL_ACCOUNTS": "router",  # root's checkout is nobody else's to enter
                **({"PYTHONPATH": str(self.installed)} if self.installed else {}),
            },
        )  # fmt: skip

    def _worker(self) -> str:
        """The satellite's command, as the local provisioner takes it."""
        serve = pinned(self.bench.cores.load, *worker.command("{port}"))
        late = ("sh", "-c", _LATE, str(self._asleep), *serve)
        return " ".join(shlex.quote(word) for word in late)

    def sleep(self) -> None:
        self._asleep.touch()
        self._own("satellite", "sleep", _NAME)

    def _own(self, command: str, *arguments: str) -> str:
        """Run one of Torpor's commands; what it prints."""
        environment: Mapping[str, str] = getattr(self, "_client", {})
        done = subprocess.run(
            [sys.executable, "-m", f"torpor_router.cli.{command}", *arguments],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{command} {' '.join(arguments)}: {done.stderr}")
        return done.stdout


class PlainTorpor(Torpor):
    """The same from its source: a wheel that nothing is compiled in."""

    name = "Torpor, plain Python"
    installed = None


class Relay(Subject):
    """The door without a database, for profiles: gate and directory in memory."""

    name = "relay alone"
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
