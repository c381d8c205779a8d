"""What `torpor serve` was asked to do, checked before anything is started."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from torpor_provisioner.contract import Address
from torpor_provisioner.errors import Status, TorporError
from torpor_router.access.ca.places import Places
from torpor_router.limits import Limits
from torpor_router.names import (
    DEFAULT_DOOR_PORT,
    DEFAULT_METRICS_PORT,
    stays_here,
    written_address,
)
from torpor_router.notices.reach import Reach
from torpor_router.usage.groups import Groups
from torpor_router.usage.prices import NO_PRICES, Prices
from torpor_statemachine.config import FleetConfig


class BadConfiguration(TorporError):
    """An option that cannot be meant."""

    code = "TPR-5101"
    status = Status.INVALID_ARGUMENT
    cause = "The router's configuration cannot be used"
    remedy = "Correct the option and start again; 'torpor serve --help' lists them all"


DEFAULT_LISTEN = Address("127.0.0.1", DEFAULT_DOOR_PORT)
DEFAULT_METRICS = Address("127.0.0.1", DEFAULT_METRICS_PORT)


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


@dataclass(frozen=True, slots=True)
class Traces:
    """Where spans go, an OTLP receiver's URL; whether requests that waited for a satellite that was
    awake have some, and whether workers get the context of those that waited."""

    url: str
    hot: bool = False
    to_workers: bool = False

    def __post_init__(self) -> None:
        if not _is_receiver(self.url):
            raise BadConfiguration(
                "--traces-to: give an OTLP receiver's URL for gRPC, as in http://127.0.0.1:4317"
            )


def _is_receiver(url: str) -> bool:
    try:
        parts = urlsplit(url)
        host = parts.hostname is not None and parts.port != 0 and "@" not in parts.netloc
    except ValueError:
        return False
    return host and parts.scheme in ("http", "https") and parts.path in ("", "/")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeConfig:
    """Everything one node needs to know. Durations are seconds."""

    listen: Address = DEFAULT_LISTEN
    metrics: Address | None = DEFAULT_METRICS
    status: Address | None = None
    data: Path
    database_url: str | None = None
    poll_only: bool = False
    share_port: bool = False
    processes: int = 1
    provisioners: tuple[str, ...] = ("local",)
    domain: str = ""
    tls: Tls | None = None
    plaintext: bool = False
    proxy_protocol: bool = False
    client_authority: Places | None = None
    prices: Prices = NO_PRICES
    worker_tls: WorkerTls | None = None
    traces: Traces | None = None
    metrics_by: Groups = field(default_factory=Groups)
    webhook_key: Path | None = None
    reach: Reach = field(default_factory=Reach)
    drain: float = 600.0
    fleet: FleetConfig = field(default_factory=FleetConfig)
    audit_kept: int = 400
    looks_wake: bool = False
    wake_progress: bool = True
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if self.processes < 1:
            raise BadConfiguration("--processes must be 1 or more")
        if not 0 <= self.drain < inf:  # which NaN is not
            raise BadConfiguration("--drain must be a number of seconds, and not negative")
        if not self.provisioners:
            raise BadConfiguration("at least one --provisioner is needed")
        if self.worker_tls is not None and not self.domain:
            raise BadConfiguration(
                "--worker-ca needs --domain: a worker's certificate is for NAME--ORG.DOMAIN"
            )
        for each in (self.listen, self.status):
            if each is None or self.tls is not None or self.plaintext or stays_here(each.host):
                continue
            raise BadConfiguration(
                f"{written_address(each)} is reached from other machines: give --tls-cert"
                " and --tls-key, or --plaintext if TLS ends in front of the router"
            )

    @property
    def shares_port(self) -> bool:
        """Whether others may listen on the door's port: this router's processes, or anyone's."""
        return self.share_port or self.processes > 1

    def for_process(self, index: int) -> Self:
        """The same, for process number `index`: each has a metrics port of its own, and the first
        has the status page."""
        metrics = self.metrics
        if metrics is not None and metrics.port != 0:
            metrics = metrics._replace(port=metrics.port + index)
        return replace(self, metrics=metrics, status=None if index else self.status)
