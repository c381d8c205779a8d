"""`torpor doctor`: this machine, as `torpor serve` would find it."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click

from torpor_provisioner.contract import Provisioner, Rehearsing
from torpor_provisioner.errors import TorporError
from torpor_router.cli.failures import printable
from torpor_router.cli.output import Column, Output, with_output
from torpor_router.cli.storage import Storage, with_storage
from torpor_router.durations import duration
from torpor_router.exits import Exit

OK, WARNING, BAD = "ok", "warning", "bad"
_FILE = click.Path(path_type=Path, dir_okay=False)
_CLOCK = (1.0, 5.0)  # seconds that clocks may differ by: then a warning, then bad
_SOON = 14 * 86_400  # seconds before a certificate's end
_CLOUD_WITHIN = 30.0  # seconds


@dataclass(frozen=True, slots=True)
class NodeFinding:
    """`result` is "ok", "warning" or "bad"; `remedy` says what to do, where anything is."""

    check: str
    result: str
    found: str
    remedy: str = ""


@click.command()
@click.option("--tls-cert", type=_FILE, envvar="TORPOR_TLS_CERT", help="As of 'torpor serve'.")
@click.option("--tls-key", type=_FILE, envvar="TORPOR_TLS_KEY", help="Likewise.")
@click.option("--client-ca", type=_FILE, envvar="TORPOR_CLIENT_CA", help="Likewise.")
@click.option("--client-ca-key", envvar="TORPOR_CLIENT_CA_KEY", help="Likewise.")
@click.option(
    "--provisioner",
    "provisioners",
    multiple=True,
    default=("local",),
    show_default=True,
    envvar="TORPOR_PROVISIONERS",
    help="Likewise.",
)
@with_storage
@with_output
def doctor(
    *,
    tls_cert: Path | None,
    tls_key: Path | None,
    client_ca: Path | None,
    client_ca_key: str | None,
    provisioners: tuple[str, ...],
    output: Output,
    storage: Storage,
) -> None:
    """Look for what would keep a router on this machine from working, in order.

    The database, its migrations and clock; the certificates and their ends; whether the clouds
    answer, and allow what a router asks of them (by dry runs). Nothing is changed. Exits with 3
    where something is bad: mend the first of it.
    """

    async def look() -> list[NodeFinding]:
        findings = await _database(storage)
        findings += _certificates(tls_cert, tls_key, client_ca, client_ca_key)
        for name in provisioners:
            findings += await _cloud(name, storage.data)
        return findings

    findings = asyncio.run(look())
    if output.as_json:
        output.json(findings)
    else:
        output.table(
            ["check", "result", Column("found", wraps=True)],
            [(each.check, each.result, each.found) for each in findings],
        )
        for each in findings:
            if each.remedy:
                output.remark(f"{each.check}: {each.remedy}")
    if any(each.result == BAD for each in findings):
        raise SystemExit(Exit.REFUSED)


async def _database(storage: Storage) -> list[NodeFinding]:
    from torpor_statemachine.postgres.health import health

    try:
        async with storage.opened() as database:
            seen = await health(database)
    except TorporError as error:
        return [_bad("database", error)]
    ahead = abs(seen.ahead)
    clock = OK if ahead < _CLOCK[0] else WARNING if ahead < _CLOCK[1] else BAD
    which = "ahead" if seen.ahead > 0 else "behind"
    return [
        NodeFinding("database", OK, f"Postgres {seen.version}"),
        NodeFinding(
            "migrations",
            WARNING if seen.pending or seen.newer else OK,
            f"{len(seen.pending)} pending, {len(seen.newer)} of a newer version",
            "'torpor migrate', or a router's start, applies them" if seen.pending else "",
        ),
        NodeFinding(
            "clock",
            clock,
            f"the database's is {ahead:.1f} s {which}",
            "keep both by NTP: certificates are judged by this machine's" if clock != OK else "",
        ),
    ]


def _certificates(
    certificate: Path | None, key: Path | None, client_ca: Path | None, ca_key: str | None
) -> list[NodeFinding]:
    findings = []
    if certificate is not None and key is not None:
        findings.append(_try("door's certificate", lambda: _ends(certificate, key)))
    else:
        findings.append(
            NodeFinding("door's certificate", WARNING, "none: it serves this machine alone")
        )
    if client_ca is not None:
        findings.append(_try("client CA", lambda: _ends(client_ca)))
    if client_ca is not None and ca_key is not None:
        findings.append(_try("client CA's key", lambda: _signs(client_ca, ca_key)))
    return findings


def _ends(certificate: Path, key: Path | None = None) -> tuple[str, str, str]:
    """The first end among the certificates of a file, which the key must belong to."""
    import ssl

    from cryptography import x509

    try:
        chain = x509.load_pem_x509_certificates(certificate.read_bytes())
        if key is not None:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        return BAD, f"{certificate}: {error}", "give a PEM certificate and its key"
    ends = min(each.not_valid_after_utc for each in chain)
    left = ends - datetime.now(UTC)
    if left.total_seconds() <= 0:
        return BAD, f"ended at {ends:%Y-%m-%d %H:%M:%SZ}", "renew it"
    result = WARNING if left.total_seconds() < _SOON else OK
    found = f"good until {ends:%Y-%m-%d %H:%M:%SZ}, {duration(left)} more"
    return result, found, "renew it" if result == WARNING else ""


def _signs(client_ca: Path, key: str) -> tuple[str, str, str]:
    from torpor_router.access.ca.keys import read_authority

    return OK, f"belongs to {read_authority(client_ca, key).name}", ""


def _try(check: str, look: Callable[[], tuple[str, str, str]]) -> NodeFinding:
    try:
        return NodeFinding(check, *look())
    except TorporError as error:
        return _bad(check, error)


async def _cloud(name: str, data: Path) -> list[NodeFinding]:
    """Whether it answers, and what it would let us do."""
    from torpor_provisioner.registry import create

    check, begun = f"cloud {name}", time.monotonic()
    try:
        provisioner = create(name, os.environ, data)
        try:
            async with asyncio.timeout(_CLOUD_WITHIN):
                machines = await provisioner.owned()
                took = time.monotonic() - begun
                found = f"answers in {took:.1f} s, with {len(machines)} machines of ours"
                return [NodeFinding(check, OK, found), *await _rights(name, provisioner)]
        finally:
            await provisioner.aclose()
    except TorporError as error:
        return [_bad(check, error)]
    except TimeoutError:
        why = f"no answer for {_CLOUD_WITHIN:g} s"
        return [NodeFinding(check, BAD, why, "look at its network")]


async def _rights(name: str, provisioner: Provisioner) -> list[NodeFinding]:
    """What its cloud says to dry runs of every call, place by place."""
    if not isinstance(provisioner, Rehearsing):
        return []
    check, findings = f"rights in {name}", []
    for place, tried in (await provisioner.rehearse()).items():
        for action, why in sorted(tried.refused.items()):
            remedy = f"allow {action} there (infra/iam has the policy), or correct what it names"
            findings.append(NodeFinding(check, BAD, printable(f"{place}: {why}"), remedy))
        if not tried.refused:
            rest = f"; {len(tried.untried)} need a machine to try" if tried.untried else ""
            found = f"{place}: all {len(tried.allowed)} calls that were tried are allowed{rest}"
            findings.append(NodeFinding(check, OK, found))
    return findings


def _bad(check: str, error: TorporError) -> NodeFinding:
    return NodeFinding(check, BAD, printable(f"{error.code} {error.message}"), error.remedy)
