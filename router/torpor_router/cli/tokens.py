"""`torpor token`."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from torpor_router.cli.arguments import Duration
from torpor_router.cli.output import Output, with_output
from torpor_router.cli.storage import Storage, with_storage

if TYPE_CHECKING:
    from torpor_router.access.store import Token
    from torpor_statemachine.postgres.pool import Database


@click.group()
def token() -> None:
    """Make, list and revoke the tokens of orgs."""


@token.command()
@click.argument("org")
@click.argument("name")
@click.option("--expires", type=Duration(), metavar="DURATION", help="Such as 90d; else never.")
@with_storage
@with_output
def create(
    org: str, name: str, expires: timedelta | None, output: Output, storage: Storage
) -> None:
    """Make a token for ORG, called NAME.

    It is printed once, alone on standard output, and kept nowhere: only its SHA-256 is.
    """

    async def work(database: Database) -> tuple[Token, str]:
        from torpor_router.access.store import Store

        return await Store(database).create_token(org, name, expires)

    made, text = storage.run(work)
    if output.as_json:
        output.json({**dataclasses.asdict(made), "token": text})
        return
    output.remark(
        "Keep it now, it is not shown again. Clients send it as 'authorization: Bearer …'"
    )
    output.say(text)


@token.command()
@click.argument("org", required=False)
@click.option("--revoked", is_flag=True, help="Those that were revoked, too.")
@with_storage
@with_output
def ls(*, org: str | None, revoked: bool, output: Output, storage: Storage) -> None:
    """List the tokens of ORG, or of every org."""

    async def work(database: Database) -> list[Token]:
        from torpor_router.access.store import Store

        return await Store(database).tokens(org, revoked=revoked)

    tokens = storage.run(work)
    if output.as_json:
        output.json(tokens)
        return
    output.table(
        ["org", "token", "state", "created", "expires", *(["revoked"] if revoked else [])],
        [
            (
                *(each.org, each.name, each.state, each.created_at, each.expires_at or "never"),
                *([each.revoked_at] if revoked else []),
            )
            for each in tokens
        ],
        empty="There are no tokens yet: torpor token create ORG NAME",
    )


@token.command()
@click.argument("org")
@click.argument("name")
@with_storage
@with_output
def revoke(org: str, name: str, output: Output, storage: Storage) -> None:
    """End a token: within 2 seconds no router opens a stream for it. Open streams go on."""

    async def work(database: Database) -> Token:
        from torpor_router.access.store import Store

        return await Store(database).revoke_token(org, name)

    ended = storage.run(work)
    if output.as_json:
        output.json(ended)
    else:
        output.say(f"Revoked {ended.org}/{ended.name}.")
