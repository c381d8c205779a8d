"""The `satellite` command: for those who own satellites."""

from __future__ import annotations

from datetime import UTC, timedelta
from pathlib import Path

import click

from torpor_router.cli import (
    changing,
    looking,
    org_audit,
    org_members,
    org_tokens,
    org_trust,
    org_webhooks,
)
from torpor_router.cli.arguments import Duration
from torpor_router.cli.connect import command as connecting
from torpor_router.cli.connection import Target
from torpor_router.cli.context_commands import context, select, unselect
from torpor_router.cli.doctor.command import doctor
from torpor_router.cli.exchange import exchange
from torpor_router.cli.login import login, logout
from torpor_router.cli.org_usage import usage
from torpor_router.cli.output import Output
from torpor_router.cli.owner import client_of, command, main
from torpor_router.cli.pair_files import OUT, REPLACE, prefixed

__all__ = [
    "changing",
    "connecting",
    "looking",
    "main",
    "org_audit",
    "org_members",
    "org_tokens",
    "org_trust",
    "org_webhooks",
]

for _each in (login, logout, context, select, unselect, doctor, usage, exchange):
    main.add_command(_each)


@command("certificate", "satellite certificate --for 12h --out ~/.torpor/client --replace")
@click.argument("name", required=False)
@click.option(
    "--for", "lives", type=Duration(), metavar="TIME", help="1d unless said; 90d at most."
)
@click.option(
    "--out",
    type=OUT,
    default="client",
    show_default=True,
    metavar="PREFIX",
    help="Writes PREFIX.pem and PREFIX.key.",
)
@REPLACE
def certificate(
    name: str | None,
    *,
    lives: timedelta | None,
    out: Path,
    replace: bool,
    target: Target,
    output: Output,
) -> None:
    """Get a client certificate for builds: for satellite NAME, or all that the token is for.

    It may do what the token may and no more, and ends with it. Its key is made here and stays here.
    """
    from torpor_router.access.ca.requests import new_request
    from torpor_router.cli.ca import issued

    files = prefixed(out)
    files.check(replace=replace)
    key, request = new_request("torpor")
    with client_of(target) as client:
        reply = client.certificate(request, name or "", lives)
    files.write(reply.certificate, key)
    ends = reply.expires_at.ToDatetime(UTC)
    output.answer(*issued(reply.serial, reply.subject, ends, files.certificate, files.key))


if __name__ == "__main__":
    main()
