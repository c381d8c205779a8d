"""All checks in order, until one fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

from torpor_router.cli.client import Client
from torpor_router.cli.connection import Target
from torpor_router.cli.doctor.finding import Broken, Finding
from torpor_router.cli.doctor.network import connected, resolved
from torpor_router.cli.doctor.router import answered, permitted, recognised, routed
from torpor_router.cli.doctor.tls import dated, shaken, spoken
from torpor_router.names import written_address

CHECKS = (
    *("address", "DNS", "TCP", "TLS", "clock", "HTTP/2"),
    *("token", "permission", "route", "worker"),
)


def examine(
    target: Callable[[], Target], named: Callable[[Target], str], source: str, within: float
) -> Iterator[Finding]:
    """What each check found; the last one failed, or is the last there is.

    `target` says where to, or raises `Broken`; `source` is who says so, a context if empty. No step
    takes longer than `within` seconds. Where `named` gives no satellite, route and worker are left
    out.
    """
    try:
        whom = target()
        where = written_address(whom.address)
        by = source or whom.choice.name or "by default"
        yield Finding("address", ok=True, detail=f"{where} ({by})")
        yield from _way(whom, within)
        yield from _router(whom, named(whom), within)
    except Broken as broken:
        yield broken.finding


def _way(target: Target, within: float) -> Iterator[Finding]:
    with ExitStack() as stack:
        hosts, found = resolved(target.address, within)
        yield found
        connection, found = connected(hosts, target.address, within)
        stack.callback(connection.close)
        yield found
        if target.tls is None:
            yield Finding("TLS", ok=True, detail="not used")
            yield Finding("clock", ok=True, detail="not needed: no certificate is looked at")
            yield spoken(connection, target)
            return
        tls, found = shaken(connection, target)
        stack.callback(tls.connection.close)
        yield found
        yield dated(tls)
        yield spoken(tls.connection, target)


def _router(target: Target, name: str, within: float) -> Iterator[Finding]:
    with Client(target, within=within) as client:
        caller, found = recognised(client, target)
        yield found
        yield permitted(caller, name)
        if name:
            state, found = routed(client, caller, name)
            yield found
            yield answered(client, caller, name, state)
