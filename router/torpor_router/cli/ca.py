"""`torpor ca`."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from torpor_router.cli.acting import note
from torpor_router.cli.arguments import ROLES, Duration
from torpor_router.cli.certificates import revoke
from torpor_router.cli.output import Column, Output, with_output
from torpor_router.cli.pair_files import OUT, REPLACE, prefixed
from torpor_router.cli.storage import Storage, with_storage

if TYPE_CHECKING:
    from torpor_router.access.issued import Issued
    from torpor_statemachine.postgres.pool import Database

_Command = TypeVar("_Command", bound=Any)


def _places(command: _Command) -> _Command:
    certificate = click.option(
        "--client-ca",
        type=click.Path(path_type=Path, dir_okay=False),
        default=Path("client-ca.pem"),
        show_default=True,
        envvar="TORPOR_CLIENT_CA",
        help="The CA's certificate, as 'torpor serve' is given it.",
    )
    key = click.option(
        "--client-ca-key",
        metavar="FILE",
        default="client-ca.key",
        show_default=True,
        envvar="TORPOR_CLIENT_CA_KEY",
        help="Its key: a file, or aws:NAME for a secret of AWS Secrets Manager.",
    )
    made: _Command = certificate(key(command))
    return made


@click.group()
def ca() -> None:
    """A CA of your own for client certificates: make it, issue, list and revoke.

    Routers believe what it issues when 'torpor serve' is given it as --client-ca.
    """


@ca.command()
@_places
@click.option("--name", default="Torpor clients", show_default=True, help="What it is called.")
@with_output
def init(*, client_ca: Path, client_ca_key: str, name: str, output: Output) -> None:
    """Make a CA. It is good for ten years; its key can be read by you alone."""
    from torpor_router.access.ca.authority import ClientAuthority
    from torpor_router.access.ca.keys import keep_authority

    made = ClientAuthority.make(name)
    keep_authority(made, client_ca, client_ca_key)
    fields = {"client_ca": str(client_ca), "client_ca_key": client_ca_key, "expires_at": made.ends}
    output.answer(
        fields,
        f"Made {client_ca}, good until {made.ends:%Y-%m-%d}; its key is {client_ca_key}.\n"
        f"Next: torpor serve --client-ca {client_ca} …, torpor ca issue ORG",
    )


@ca.command()
@click.argument("owner", metavar="ORG[/SATELLITE]")
@_places
@click.option(
    "--for", "lives", type=Duration(), default="30d", show_default=True, help="90d at most."
)
@click.option("--name", help="Whose it is, for the history and the logs; else the owner's name.")
@click.option("--role", type=ROLES, default="ci", show_default=True, help="What it may do.")
@click.option(
    "--csr",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="A request for a key that its owner has; else a key is made.",
)
@click.option("--out", type=OUT, metavar="PREFIX", help="Writes PREFIX.pem and PREFIX.key.")
@REPLACE
@with_storage
@with_output
def issue(
    *,
    owner: str,
    client_ca: Path,
    client_ca_key: str,
    lives: timedelta,
    name: str | None,
    role: str,
    csr: Path | None,
    out: Path | None,
    replace: bool,
    output: Output,
    storage: Storage,
) -> None:
    """Issue a certificate for every satellite of ORG, or for one."""
    from torpor_router.access.ca.keys import read_authority
    from torpor_router.access.ca.requests import key_in, new_request

    org, slash, of_org = owner.partition("/")
    satellite = of_org if slash else None
    name = name or (f"{org}-{satellite}" if satellite else org)
    files = prefixed(out or Path(name.replace("/", "-")))
    files.check(replace=replace)
    private, request = (None, csr.read_bytes()) if csr else new_request(name)
    authority = read_authority(client_ca, client_ca_key)
    signed = authority.issue(key_in(request), name, org=org, satellite=satellite, lives=lives)

    async def work(database: Database) -> None:
        from torpor_router.access.issued import IssuedCertificates
        from torpor_router.access.roles import Role

        await IssuedCertificates(database).keep(org, satellite, Role(role), signed, None)
        after = {"subject": name, "role": role, "expires_at": signed.ends.isoformat()}
        await note(database, "ca issue", org, signed.serial, after=after)

    storage.run(work)
    files.write(signed.pem, private)
    key = files.key if private else None
    output.answer(*issued(signed.serial, signed.subject, signed.ends, files.certificate, key))


def issued(
    serial: str, subject: str, ends: datetime, certificate: Path, key: Path | None
) -> tuple[dict[str, object], str]:
    """What is printed of a new certificate, to a program and to a person."""
    fields = {
        "serial": serial,
        "subject": subject,
        "expires_at": ends,
        "certificate": str(certificate),
        "key": str(key) if key is not None else None,
    }
    lines = [
        f"Issued {certificate}, good until {ends:%Y-%m-%d %H:%M:%SZ}.",
        *([f"Its key is {key}."] if key is not None else []),
        f"In the history it is certificate:{subject}/{serial}.",
    ]
    return fields, "\n".join(lines)


@ca.command()
@click.argument("org", required=False)
@click.option("--all", "all_", is_flag=True, help="Those that have ended, too.")
@with_storage
@with_output
def ls(*, org: str | None, all_: bool, output: Output, storage: Storage) -> None:
    """List the certificates that were issued, here or by routers."""

    async def work(database: Database) -> list[Issued]:
        from torpor_router.access.issued import IssuedCertificates

        return await IssuedCertificates(database).all(org, ended=all_)

    found = storage.run(work)
    if output.as_json:
        output.json(found)
        return
    output.table(
        [
            *("serial", Column("for", wraps=True), Column("name", wraps=True)),
            *(Column("may", wraps=True), "state", "until"),
        ],
        [
            (
                *(each.serial, f"{each.org}/{each.satellite}" if each.satellite else each.org),
                *(each.subject, f"as {each.token}" if each.token else each.role),
                *(each.state, f"{each.expires_at:%Y-%m-%d %H:%MZ}"),
            )
            for each in found
        ],
        empty="No certificates: torpor ca issue ORG",
    )


ca.add_command(revoke)
