"""`torpor token`."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import click

from torpor_router.cli.access_tables import (
    NAME,
    NEW_TOKEN,
    OPERATORS,
    REVOKED,
    ROLE,
    SATELLITES,
    show_created_token,
    show_narrowed_token,
    show_new_token,
    show_revoked_token,
    show_tokens,
)
from torpor_router.cli.acting import note
from torpor_router.cli.arguments import Duration
from torpor_router.cli.output import Output, with_output
from torpor_router.cli.storage import Storage, with_storage
from torpor_router.durations import duration

if TYPE_CHECKING:
    from torpor_router.access.endings import Ended
    from torpor_router.access.store import Token
    from torpor_statemachine.postgres.pool import Database


@click.group()
def token() -> None:
    """Make, list, narrow and revoke tokens.

    ORG is an org's name, or '-' for operators: theirs are over every org, and build nothing.
    """


@token.command()
@click.argument("org")
@NAME
@NEW_TOKEN
@with_storage
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
    storage: Storage,
) -> None:
    """Make a token for ORG, called NAME.

    It is printed once, alone on standard output, and kept nowhere: only its SHA-256 is.
    """
    org, operators = _org(org)
    if operators and (role or satellites or member):
        raise click.UsageError("an operator's token has no --role, --satellite or --member")

    async def work(database: Database) -> tuple[Token, str]:
        from torpor_router.access.roles import Role
        from torpor_router.access.store import Store

        made, text = await Store(database).create_token(
            org,
            name,
            expires,
            role=Role.OPERATOR if operators else Role(role or "admin"),
            satellites=satellites or None,
            member=member,
        )
        await note(database, "token create", org, name, after={"role": made.role})
        return made, text

    made, text = storage.run(work)
    everything = role is None and not operators
    show_created_token(output, made, text, everything=everything)


@token.command()
@click.argument("org", required=False)
@REVOKED
@with_storage
@with_output
def ls(*, org: str | None, revoked: bool, output: Output, storage: Storage) -> None:
    """List the tokens of ORG, or of every org."""
    only, operators = _org(org or "")

    async def work(database: Database) -> list[Token]:
        from torpor_router.access.store import Store

        return await Store(database).tokens(only or None, revoked=revoked, operators=operators)

    show_tokens(
        output,
        storage.run(work),
        create="torpor token create ORG NAME",
        narrow="torpor token narrow ORG NAME",
    )


@token.command()
@click.argument("org")
@NAME
@ROLE
@SATELLITES
@with_storage
@with_output
def narrow(
    *, org: str, name: str, role: str, satellites: tuple[str, ...], output: Output, storage: Storage
) -> None:
    """Change what a token may do: within 2 seconds every router knows."""

    async def work(database: Database) -> Token:
        from torpor_router.access.roles import Role
        from torpor_router.access.store import Store

        changed = await Store(database).narrow_token(org, name, Role(role), satellites or None)
        after = {"role": role, "satellites": changed.satellites}
        await note(database, "token narrow", org, name, after=after)
        return changed

    show_narrowed_token(output, storage.run(work))


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


@token.command()
@click.argument("org")
@NAME
@click.option(
    "--overlap", type=Duration(), default="1h", show_default=True, help="That the old one lasts."
)
@click.option("--now", is_flag=True, help="End the old one at once, as where it has leaked.")
@click.option("--expires", type=Duration(), metavar="DURATION", help="Else as long as the old one.")
@with_storage
@with_output
def rotate(
    *,
    org: str,
    name: str,
    overlap: timedelta,
    now: bool,
    expires: timedelta | None,
    output: Output,
    storage: Storage,
) -> None:
    """Make another token of the same name and rights, and end the old one a while later.

    It is printed as by 'create'. The old one is called NAME.old-… meanwhile.
    """
    org, _ = _org(org)
    lasts = timedelta() if now else overlap

    async def work(database: Database) -> tuple[Token, str]:
        from torpor_router.access.store import Store

        made, text = await Store(database).rotate_token(org, name, lasts, expires)
        await note(database, "token rotate", org, name, after={"overlap": lasts.total_seconds()})
        return made, text

    made, text = storage.run(work)
    until = "has ended" if now else f"ends in {duration(lasts)}"
    remark = f"Keep it now, it is not shown again. The old one {until}."
    show_new_token(output, made, text, remark)


@token.command()
@click.argument("org")
@NAME
@with_storage
@with_output
def revoke(org: str, name: str, output: Output, storage: Storage) -> None:
    """End a token: within 2 seconds no router opens a stream for it. Open streams go on."""
    org, _ = _org(org)

    async def work(database: Database) -> Token:
        from torpor_router.access.store import Store

        ended = await Store(database).revoke_token(org, name)
        await note(database, "token revoke", org, name, before={"role": ended.role})
        return ended

    show_revoked_token(output, storage.run(work))


def _org(text: str) -> tuple[str, bool]:
    """An org's name, and whether operators are meant instead."""
    return ("", True) if text == OPERATORS else (text, False)
