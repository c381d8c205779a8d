"""What `torpor serve` was asked to do, checked before anything is started."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path
from typing import NamedTuple, Self

from torpor_provisioner.errors import Status, TorporError
from torpor_router.limits import Limits

DEFAULT_DOOR_PORT = 8372
DEFAULT_METRICS_PORT = 9372


class BadConfiguration(TorporError):
    """An option that cannot be meant."""

    code = "TPR-5101"
    status = Status.INVALID_ARGUMENT
    cause = "The router's configuration cannot be used"
    remedy = "Correct the option and start again; 'torpor serve --help' lists them all"


class Listen(NamedTuple):
    """A host and port to listen on. IPv6 hosts are written in brackets."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str, default_port: int) -> Self:
        """Read `host:port`, `[v6]:port`, `:port` (every address) or `host`."""
        if text.startswith("["):
            host, bracket, rest = text[1:].partition("]")
            colon, port = rest[:1], rest[1:]
            if not bracket or (rest and colon != ":"):
                raise BadConfiguration(f"cannot read the address {text!r}")
        else:
            host, colon, port = text.rpartition(":")
            if not colon:
                host, port = text, ""
        if not port and not colon:
            return cls(host, default_port)
        if not port.isascii() or not port.isdigit() or int(port) > 65535:
            raise BadConfiguration(f"cannot read the port of {text!r}")
        return cls(host or "0.0.0.0", int(port))  # noqa: S104 - ":8372" asks for every address

    @property
    def stays_here(self) -> bool:
        """Whether what is said here never leaves the machine."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


DEFAULT_LISTEN = Listen("127.0.0.1", DEFAULT_DOOR_PORT)
DEFAULT_METRICS = Listen("127.0.0.1", DEFAULT_METRICS_PORT)


@dataclass(frozen=True, slots=True)
class Tls:
    """Files in PEM; read again when they change, so a renewed certificate needs no restart."""

    certificate: Path
    key: Path
    client_ca: Path | None = None


@dataclass(frozen=True, slots=True)
class WorkerTls:
    """How the router shows itself to satellites, and whom it believes."""

    ca: Path
    certificate: Path | None = None
    key: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeConfig:
    """Everything one node needs to know. Durations are seconds."""

    listen: Listen = DEFAULT_LISTEN
    metrics: Listen | None = DEFAULT_METRICS
    data: Path
    database_url: str | None = None
    poll_only: bool = False
    workers: int = 1
    provisioners: tuple[str, ...] = ("local",)
    domain: str = ""
    tls: Tls | None = None
    plaintext: bool = False
    proxy_protocol: bool = False
    worker_tls: WorkerTls | None = None
    drain: float = 600.0
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise BadConfiguration("--workers must be 1 or more")
        if not 0 <= self.drain < inf:  # which NaN is not
            raise BadConfiguration("--drain must be a number of seconds, and not negative")
        if not self.provisioners:
            raise BadConfiguration("at least one --provisioner is needed")
        if self.tls is None and not self.plaintext and not self.listen.stays_here:
            raise BadConfiguration(
                f"{self.listen} is reached from other machines: give --tls-cert and --tls-key,"
                " or --plaintext if TLS ends in front of the router"
            )

    def for_worker(self, index: int) -> Self:
        """The same, for worker number `index`: each has a metrics port of its own."""
        if self.metrics is None or self.metrics.port == 0:
            return self
        return replace(self, metrics=self.metrics._replace(port=self.metrics.port + index))
