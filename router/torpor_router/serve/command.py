"""`torpor serve`: the options, in the order in which an operator meets them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from torpor_provisioner.contract import Address
from torpor_router.access.ca.places import Places
from torpor_router.names import (
    DEFAULT_DOOR_PORT,
    DEFAULT_METRICS_PORT,
    DEFAULT_STATUS_PORT,
    read_address,
)
from torpor_router.notices.reach import Reach, networks
from torpor_router.serve.config import (
    BadConfiguration,
    ServeConfig,
    Tls,
    Traces,
    WorkerTls,
)
from torpor_router.serve.garbage import collect_nothing_yet
from torpor_router.serve.logs import FORMATS, LEVELS, set_up
from torpor_router.serve.options import field_options, fleet_config_from, limits_from
from torpor_router.usage.groups import Groups
from torpor_router.usage.prices import NO_PRICES, Prices, read_file

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(context_settings={"show_default": True, "auto_envvar_prefix": "TORPOR"})
@click.option(
    "--listen",
    default=f"127.0.0.1:{DEFAULT_DOOR_PORT}",
    metavar="HOST:PORT",
    help="Where clients come in.",
)
@click.option("--tls-cert", type=_FILE, help="The door's certificate chain, PEM.")
@click.option("--tls-key", type=_FILE, help="Its private key, PEM.")
@click.option("--client-ca", type=_FILE, help="Believe client certificates of this CA, PEM.")
@click.option(
    "--client-ca-key",
    metavar="FILE",
    help="Issue client certificates ('satellite certificate') by this key of that CA, PEM, or"
    " aws:NAME for a secret of AWS Secrets Manager.",
)
@click.option("--plaintext", is_flag=True, help="No TLS, though other machines reach the address.")
@click.option("--proxy-protocol", is_flag=True, help="Expect PROXY protocol v2 (an NLB sends it).")
@click.option(
    "--domain", default="", help="Route TLS names NAME--ORG.DOMAIN to the satellite ORG/NAME."
)
@click.option(
    "--processes",
    type=click.IntRange(min=1),
    show_default="1",
    help="On the port, one for each core; each is a node of its own.",
)
@click.option("--workers", type=click.IntRange(min=1), hidden=True)
@click.option(
    "--share-port",
    is_flag=True,
    help="Share the port with other routers that do so too, as a newer one with one that drains.",
)
@click.option(
    "--metrics",
    default=f"127.0.0.1:{DEFAULT_METRICS_PORT}",
    metavar="HOST:PORT",
    help="Prometheus endpoint; process N listens N ports higher. 'off' for none.",
)
@click.option(
    "--traces-to",
    metavar="URL",
    help="OTLP receiver (gRPC) for spans of requests that wait, and of wakes: http://HOST:4317.",
)
@click.option(
    "--traces-hot", is_flag=True, help="Spans also where the satellite turned out to be awake."
)
@click.option(
    "--traces-to-workers",
    is_flag=True,
    help="Give a request that waited its span's context ('traceparent') on its way to the worker;"
    " else it keeps its caller's.",
)
@click.option(
    "--metrics-by",
    multiple=True,
    metavar="org|label:KEY",
    help="Metrics of the month's usage for each org, or each value of a label, too;"
    " repeat for several.",
)
@click.option(
    "--metrics-groups",
    type=click.IntRange(1, 1_000),
    default=50,
    help="Most orgs or values that have series of their own; the others have one together.",
)
@click.option(
    "--status",
    metavar="HOST:PORT",
    help="A web page of the fleet, for browsers; its first process alone listens. None by default.",
)
@click.option(
    "--drain",
    default=600.0,
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="That open streams get to end when the router is told to stop.",
)
@click.option(
    "--provisioner",
    "provisioners",
    multiple=True,
    default=("local",),
    envvar="TORPOR_PROVISIONERS",
    help="A cloud to serve; repeat for several.",
)
@click.option(
    "--hibernate-arm64",
    is_flag=True,
    help="Let new arm64 satellites hibernate too, where they say no sleep mode; else they stop.",
)
@click.option(
    "--audit-kept",
    type=click.IntRange(min=30),
    default=400,
    show_default=True,
    metavar="DAYS",
    help="How long the audit log is kept.",
)
@click.option(
    "--looks-wake",
    is_flag=True,
    help="Wake satellites for calls that only look at their workers, as 'buildx ls' makes them;"
    " else those are answered as the worker last did.",
)
@click.option(
    "--no-wake-progress",
    is_flag=True,
    help="Do not show a wake as a step of the build that waits for it (BuildKit).",
)
@click.option("--prices", type=_FILE, help="What an hour costs, for 'satellite usage'.")
@click.option(
    "--webhook-key",
    type=_FILE,
    help="Deliver notices to webhooks; their addresses and secrets are kept by this key"
    " ('torpor webhook key' makes one).",
)
@click.option(
    "--webhooks-to",
    "webhooks_to",
    multiple=True,
    metavar="NETWORK",
    help="Let webhooks of orgs reach this network too, as in 10.1.0.0/16; else public addresses"
    " alone. Repeat for several.",
)
@click.option("--worker-ca", type=_FILE, help="Speak TLS to satellites, and believe this CA.")
@click.option("--worker-cert", type=_FILE, help="The router's certificate towards satellites.")
@click.option("--worker-key", type=_FILE, help="Its private key.")
@click.option("--database-url", help="Postgres 14 or newer; without it, one of our own.")
@click.option("--poll-only", is_flag=True, help="Behind PgBouncer: no LISTEN, no named statements.")
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".torpor"),
    help="Where the embedded Postgres and local satellites live.",
)
@click.option(
    "--log-format",
    type=click.Choice(FORMATS),
    default=FORMATS[0],
    help="Log lines for people, or a JSON object each.",
)
@click.option(
    "--log-level",
    type=click.Choice(LEVELS),
    default="info",
    help="The least that is logged; debug tells of every connection and hold.",
)
@field_options
def serve(**options: Any) -> None:
    """Run a router node: the door, the lifecycle, the control API and metrics.

    Every option can be given as an environment variable, TORPOR_ and its name. SIGTERM drains: no
    new connections, open streams finish, held ones are told to retry elsewhere; a second signal
    stops at once. SIGHUP reads the TLS files again, which is also done when they change.
    """
    config = _config(options)
    set_up(options["log_format"], options["log_level"])

    collect_nothing_yet()
    from torpor_router.serve.run import run  # uvloop, grpc and the rest: not for --help

    run(config)


def _config(options: dict[str, Any]) -> ServeConfig:
    metrics: str = options["metrics"]
    status: str | None = options["status"]
    return ServeConfig(
        listen=_address(options["listen"], DEFAULT_DOOR_PORT),
        metrics=None if metrics == "off" else _address(metrics, DEFAULT_METRICS_PORT),
        status=_address(status, DEFAULT_STATUS_PORT) if status else None,
        data=options["data"],
        database_url=options["database_url"] or None,
        poll_only=options["poll_only"],
        share_port=options["share_port"],
        processes=_processes(options["processes"], options["workers"]),
        provisioners=tuple(options["provisioners"]),
        domain=options["domain"],
        tls=_tls(options["tls_cert"], options["tls_key"], options["client_ca"]),
        client_authority=_client_authority(options["client_ca"], options["client_ca_key"]),
        prices=_prices(options["prices"]),
        plaintext=options["plaintext"],
        proxy_protocol=options["proxy_protocol"],
        worker_tls=_worker_tls(options["worker_ca"], options["worker_cert"], options["worker_key"]),
        traces=_traces(
            options["traces_to"], hot=options["traces_hot"], to_workers=options["traces_to_workers"]
        ),
        webhook_key=options["webhook_key"],
        reach=_reach(options["webhooks_to"]),
        metrics_by=_groups(options["metrics_by"], options["metrics_groups"]),
        drain=options["drain"],
        fleet=fleet_config_from(options),
        audit_kept=options["audit_kept"],
        looks_wake=options["looks_wake"],
        wake_progress=not options["no_wake_progress"],
        limits=limits_from(options),
    )


def _processes(processes: int | None, workers: int | None) -> int:
    """`workers` is the option's name of before: a worker is a satellite's build server."""
    if workers is None:
        return processes or 1
    if processes is not None:
        raise BadConfiguration("--workers is the old name of --processes: give one of them")
    click.echo(
        "torpor serve: --workers (TORPOR_WORKERS) is called --processes (TORPOR_PROCESSES) now;"
        " the next version will not know the old name",
        err=True,
    )
    return workers


def _address(text: str, default_port: int) -> Address:
    try:
        return read_address(text, default_port)
    except ValueError as error:
        raise BadConfiguration(str(error)) from error


def _tls(certificate: Path | None, key: Path | None, client_ca: Path | None) -> Tls | None:
    if certificate is None and key is None:
        if client_ca is not None:
            raise BadConfiguration("--client-ca needs --tls-cert and --tls-key")
        return None
    if certificate is None or key is None:
        raise BadConfiguration("--tls-cert and --tls-key go together")
    return Tls(certificate, key, client_ca)


def _traces(url: str | None, *, hot: bool, to_workers: bool) -> Traces | None:
    if url:
        return Traces(url, hot, to_workers)
    if hot or to_workers:
        raise BadConfiguration("--traces-hot and --traces-to-workers need --traces-to")
    return None


def _groups(by: Sequence[str], most: int) -> Groups:
    from torpor_router.usage.report import LABEL, By, check_grouping

    for each in by:
        if each != By.ORG and not each.startswith(LABEL):
            raise BadConfiguration(f"--metrics-by {each[:80]!r}: org or {LABEL}KEY")
        check_grouping(each)
    return Groups(tuple(dict.fromkeys(by)), most)


def _prices(file: Path | None) -> Prices:
    """
    Raises:
        BadPrices: the file is not one of prices.
    """
    return read_file(file) if file is not None else NO_PRICES


def _reach(texts: tuple[str, ...]) -> Reach:
    try:
        return Reach(networks(texts))
    except ValueError as error:
        raise BadConfiguration(f"--webhooks-to: {error}") from error


def _client_authority(client_ca: Path | None, key: str | None) -> Places | None:
    if key is None:
        return None
    if client_ca is None:
        raise BadConfiguration("--client-ca-key needs --client-ca")
    return Places(client_ca, key)


def _worker_tls(ca: Path | None, certificate: Path | None, key: Path | None) -> WorkerTls | None:
    if ca is None:
        if certificate is not None or key is not None:
            raise BadConfiguration("--worker-cert and --worker-key need --worker-ca")
        return None
    if (certificate is None) != (key is None):
        raise BadConfiguration("--worker-cert and --worker-key go together")
    return WorkerTls(ca, certificate, key)
