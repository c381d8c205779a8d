"""`torpor token`."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from torpor_router.cli.acting import note
from torpor_router.cli.arguments import ROLES, Duration
from torpor_router.cli.output import Column, Output, with_output
from torpor_router.cli.storage import Storage, with_storage
from torpor_router.durations import duration

if TYPE_CHECKING:
    from torpor_router.access.endings import Ended
    from torpor_router.access.store import Token
    from torpor_statemachine.postgres.pool import Database

OPERATORS = "-"  # in the place of an org: the platform team itself
_SATELLITES = click.option(
    "--satellite",
    "satellites",
    multiple=True,
    metavar="NAME",
    help="Only for this one of the org's; repeat for several.",
)


@click.group()
def token() -> None:
    """Make, list, narrow and revoke tokens.

    ORG is an org's name, or '-' for operators: theirs are over every org, and build nothing.
    """


@token.command()
@click.argument("org")
@click.argument("name")
@click.option("--role", type=ROLES, help="What it may do: 'admin' unless said.")
@_SATELLITES
@click.option("--member", metavar="NAME", help="Whose it is: it may do no more than they.")
@click.option("--expires", type=Duration(), metavar="DURATION", help="Such as 90d; else never.")
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
    if output.as_json:
        output.json({**dataclasses.asdict(made), "token": text})
        return
    output.remark(
        "Keep it now, it is not shown again. Clients send it as 'authorization: Bearer …'"
    )
    if role is None and not operators:
        output.remark("It may do everything in the org: give --role ci to CI jobs.")
    output.say(text)


@token.command()
@click.argument("org", required=False)
@click.option("--revoked", is_flag=True, help="Those that were revoked, too.")
@with_storage
@with_output
def ls(*, org: str | None, revoked: bool, output: Output, storage: Storage) -> None:
    """List the tokens of ORG, or of every org."""
    only, operators = _org(org or "")

    async def work(database: Database) -> list[Token]:
        from torpor_router.access.store import Store

        return await Store(database).tokens(only or None, revoked=revoked, operators=operators)

    tokens = storage.run(work)
    if output.as_json:
        output.json(tokens)
        return
    output.table(
        [
            *("org", Column("token", wraps=True), Column("may", wraps=True), "state"),
            *("used", "expires"),
        ],
        [
            (
                *(each.org or OPERATORS, each.name, _may(each), each.state),
                *(each.used_at or "never", each.expires_at or "never"),
            )
            for each in tokens
        ],
        empty="There are no tokens yet: torpor token create ORG NAME",
    )
    if any(each.from_before_roles for each in tokens):
        output.remark("Old ones may do everything: torpor token narrow ORG NAME --role ROLE")


@token.command()
@click.argument("org")
@click.argument("name")
@click.option("--role", type=ROLES, required=True)
@_SATELLITES
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

    changed = storage.run(work)
    output.answer(changed, f"{changed.org}/{changed.name} may now: {_may(changed)}.")


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
@click.argument("name")
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
    if output.as_json:
        output.json({**dataclasses.asdict(made), "token": text})
        return
    until = "has ended" if now else f"ends in {duration(lasts)}"
    output.remark(f"Keep it now, it is not shown again. The old one {until}.")
    output.say(text)


@token.command()
@click.argument("org")
@click.argument("name")
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

    ended = storage.run(work)
    output.answer(ended, f"Revoked {ended.org or OPERATORS}/{ended.name}.")


def _org(text: str) -> tuple[str, bool]:
    """An org's name, and whether operators are meant instead."""
    return ("", True) if text == OPERATORS else (text, False)


def _may(token: Any) -> str:
    role = "admin (old)" if token.from_before_roles else token.role
    return f"{role}: {', '.join(token.satellites)}" if token.satellites else str(role)
