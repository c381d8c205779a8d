"""`torpor token`."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import click

from torpor_router.cli import operator_tokens
from torpor_router.cli.access_tables import (
    NAME,
    NEW_TOKEN,
    OPERATORS,
    REVOKED,
    ROLE,
    ROTATION,
    SATELLITES,
    show_created_token,
    show_narrowed_token,
    show_revoked_token,
    show_rotated_token,
    show_tokens,
)
from torpor_router.cli.deployment import Deployment, OperatorCommand, with_deployment
from torpor_router.cli.output import Output, with_output
from torpor_router.cli.storage import Storage, with_storage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torpor_router.access.endings import Ended
    from torpor_router.access.store import Token
    from torpor_router.control.access_views import TokenView
    from torpor_statemachine.postgres.pool import Database


@click.group()
def token() -> None:
    """Make, list, narrow, rotate and revoke tokens.

    ORG is an org's name, or '-' for operators: theirs are over every org, and build nothing. They
    are made and ended on the database alone.
    """


@token.command(cls=OperatorCommand)
@click.argument("org")
@NAME
@NEW_TOKEN
@with_deployment
@with_output
def create(
    org: str,
    name: str,
    *,
    role: str | None,
    satellites: tuple[str, ...],
    member: str | None,
    expires: timedelta | None,
    output: Output,
    deployment: Deployment,
) -> None:
    """Make a token for ORG, called NAME.

    It is printed once, alone on standard output, and kept nowhere: only its SHA-256 is.
    """
    made: Token | TokenView
    if org == OPERATORS:
        if role or satellites or member:
            raise click.UsageError("an operator's token has no --role, --satellite or --member")
        made, text = operator_tokens.create(deployment, name, expires)
    else:
        from torpor_router.cli.access_client import AccessClient

        with deployment.client(AccessClient, org) as client:
            made, text = client.create_token(
                name, role or "admin", satellites, member=member, lifetime=expires
            )
    show_created_token(output, made, text, everything=role is None and org != OPERATORS)


@token.command(cls=OperatorCommand)
@click.argument("org", required=False)
@REVOKED
@with_deployment
@with_output
def ls(*, org: str | None, revoked: bool, output: Output, deployment: Deployment) -> None:
    """List the tokens of ORG, or of every org."""
    tokens: Sequence[Token | TokenView]
    if org == OPERATORS:
        tokens = operator_tokens.all_of_them(deployment, revoked=revoked)
    else:
        from torpor_router.cli.access_client import AccessClient

        with deployment.client(AccessClient, org or "") as client:
            tokens = client.tokens(revoked=revoked)
    show_tokens(
        output,
        tokens,
        create="torpor token create ORG NAME",
        narrow="torpor token narrow ORG NAME",
    )


@token.command(cls=OperatorCommand)
@click.argument("org")
@NAME
@ROLE
@SATELLITES
@with_deployment
@with_output
def narrow(
    *,
    org: str,
    name: str,
    role: str,
    satellites: tuple[str, ...],
    output: Output,
    deployment: Deployment,
) -> None:
    """Change what a token may do: within 2 seconds every router knows."""
    from torpor_router.cli.access_client import AccessClient

    with deployment.client(AccessClient, org) as client:
        changed = client.narrow_token(name, role, satellites)
    show_narrowed_token(output, changed)


@token.command()
@click.option("--forget", is_flag=True, help="Believe the database from now on.")
@with_storage
@with_output
def revived(*, forget: bool, output: Output, storage: Storage) -> None:
    """List what was revoked and is let in again: the database was restored from before that.

    By what the routers of this machine have seen, in their --data folder.
    """

    async def work(database: Database) -> list[Ended]:
        from torpor_router.access.endings import Endings

        endings = Endings(database, storage.data)
        again = await endings.again()
        if forget:
            await endings.forget()
        return again

    again = storage.run(work)
    if output.as_json:
        output.json(again)
        return
    output.table(
        ["kind", "name", "id"],
        [(each.kind, each.name, each.id) for each in again],
        empty="Nothing that was revoked is let in again, as far as this machine has seen.",
    )
    if again and not forget:
        output.remark("Revoke again what must not be: torpor token revoke ORG NAME")


@token.command(cls=OperatorCommand)
@click.argument("org")
@NAME
@ROTATION
@with_deployment
@with_output
def rotate(
    *,
    org: str,
    name: str,
    overlap: timedelta,
    now: bool,
    expires: timedelta | None,
    output: Output,
    deployment: Deployment,
) -> None:
    """Make another token of the same name and rights, and end the old one a while later.

    It is printed as by 'create'. The old one is called NAME.old-… meanwhile.
    """
    lasts = timedelta() if now else overlap
    made: Token | TokenView
    if org == OPERATORS:
        made, text = operator_tokens.rotate(deployment, name, lasts, expires)
    else:
        from torpor_router.cli.access_client import AccessClient

        with deployment.client(AccessClient, org) as client:
            made, text = client.rotate_token(name, lasts, expires)
    show_rotated_token(output, made, text, lasts)


@token.command(cls=OperatorCommand)
@click.argument("org")
@NAME
@with_deployment
@with_output
def revoke(org: str, name: str, output: Output, deployment: Deployment) -> None:
    """End a token: within 2 seconds no router opens a stream for it. Open streams go on."""
    ended: Token | TokenView
    if org == OPERATORS:
        ended = operator_tokens.revoke(deployment, name)
    else:
        from torpor_router.cli.access_client import AccessClient

        with deployment.client(AccessClient, org) as client:
            ended = client.revoke_token(name)
    show_revoked_token(output, ended)
