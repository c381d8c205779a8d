"""HAProxy, one thread, HTTP/2 on both sides, connections to the worker shared by all clients."""

from __future__ import annotations

from contextlib import ExitStack

from doorbench import worker
from doorbench.load import Target
from doorbench.machine import free_port, program
from doorbench.subject import CREDENTIALS, Subject, ports

CONFIGURATION = """
global
    nbthread 1
    maxconn {connections}
    tune.h2.initial-window-size 16777216
    tune.h2.max-concurrent-streams 1000
    ssl-default-bind-options ssl-min-ver TLSv1.3
defaults
    mode http
    timeout connect 10s
    timeout client 1h
    timeout server 1h
frontend clients
    bind 127.0.0.1:{plain} proto h2 backlog 4096
    bind 127.0.0.1:{tls} ssl crt {pem} alpn h2 backlog 4096
    default_backend worker
backend worker
    http-reuse always
    server worker 127.0.0.1:{behind} proto h2
"""


class HAProxy(Subject):
    """No authorization, one upstream, no log: the least that HAProxy can do."""

    name = "HAProxy"

    def check(self) -> None:
        super().check()
        program("haproxy", "haproxy")

    def start(self, stack: ExitStack) -> None:
        plain, tls = ports()
        behind = free_port()
        chain, key = self.bench.certificate
        pem = self.folder / "chain-and-key.pem"
        pem.touch(mode=0o600)
        pem.write_bytes(chain.read_bytes() + key.read_bytes())
        configuration = self.folder / "haproxy.cfg"
        configuration.write_text(
            CONFIGURATION.format(
                plain=plain,
                tls=tls,
                pem=pem,
                behind=behind,
                connections=self.bench.files // 2 - 100,  # two sockets each, and its own
            )
        )
        self.run(stack, *worker.command(str(behind)), load=True)
        self.run(stack, program("haproxy", "haproxy"), "-db", "-f", str(configuration))
        self.target = Target(plain, tls, CREDENTIALS)
        self.await_port(plain)
        self.await_port(tls)
