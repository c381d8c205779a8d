"""The subjects that need no configuration of their own, and the list of all."""

from __future__ import annotations

import sys
from contextlib import ExitStack

from doorbench import worker
from doorbench.envoy import Envoy, EnvoyAuthz
from doorbench.haproxy import HAProxy
from doorbench.load import Target
from doorbench.machine import free_port
from doorbench.nginx import Nginx
from doorbench.subject import CREDENTIALS, Bench, Subject, ports
from doorbench.torpor import PlainTorpor, Relay, Torpor


class Direct(Subject):
    """No proxy: what the load and the worker can do by themselves, on their one core."""

    name = "worker directly"
    resumes = False  # nghttpd ends such connections with an alert

    def start(self, stack: ExitStack) -> None:
        plain, tls = ports()
        self.run(stack, *worker.command(str(plain)), load=True)
        chain, key = self.bench.certificate
        self.run(stack, *worker.command(str(tls), tls=(key, chain)), load=True)
        self.target = Target(plain, tls, CREDENTIALS)
        self.await_port(plain)
        self.await_port(tls)


class GrpcAio(Subject):
    """See passthrough.py."""

    name = "grpc.aio"
    holds = True

    def start(self, stack: ExitStack) -> None:
        port, behind = free_port(), free_port()
        self.run(stack, *worker.command(str(behind)), load=True)
        module = "doorbench.passthrough"
        self.run(stack, sys.executable, "-m", module, str(port), str(behind), str(self._asleep))
        self.target = Target(port, None, CREDENTIALS)
        self.await_port(port)


ALL: tuple[type[Subject], ...] = (
    Direct,
    Torpor,
    PlainTorpor,
    HAProxy,
    Envoy,
    EnvoyAuthz,
    Nginx,
    GrpcAio,
)
_EACH: tuple[type[Subject], ...] = (*ALL, Relay)
NAMES = tuple(each.name for each in _EACH)


def chosen(names: list[str], bench: Bench) -> list[Subject]:
    """The subjects with these names; without any, all that are compared."""
    return [each(bench) for each in _EACH if (each.name in names if names else each in ALL)]
