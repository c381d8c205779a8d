"""Operators' own tokens: they are made and ended on the database, by no call.

So an operator's token that has leaked makes no other.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import click

from torpor_router.cli.acting import note
from torpor_router.cli.deployment import Deployment
from torpor_router.cli.storage import Storage

if TYPE_CHECKING:
    from torpor_router.access.store import Token
    from torpor_statemachine.postgres.pool import Database


def create(deployment: Deployment, name: str, lives: timedelta | None) -> tuple[Token, str]:
    """The token, and its text."""

    async def work(database: Database) -> tuple[Token, str]:
        from torpor_router.access.roles import Role
        from torpor_router.access.store import Store

        made = await Store(database).create_token("", name, lives, role=Role.OPERATOR)
        await note(database, "token create", "", name, after={"role": Role.OPERATOR})
        return made

    return _database(deployment).run(work)


def all_of_them(deployment: Deployment, *, revoked: bool) -> list[Token]:
    async def work(database: Database) -> list[Token]:
        from torpor_router.access.store import Store

        return await Store(database).tokens(revoked=revoked, operators=True)

    return _database(deployment).run(work)


def rotate(
    deployment: Deployment, name: str, overlap: timedelta, lives: timedelta | None
) -> tuple[Token, str]:
    """The new token, and its text."""

    async def work(database: Database) -> tuple[Token, str]:
        from torpor_router.access.store import Store

        made = await Store(database).rotate_token("", name, overlap, lives)
        await note(database, "token rotate", "", name, after={"overlap": overlap.total_seconds()})
        return made

    return _database(deployment).run(work)


def revoke(deployment: Deployment, name: str) -> Token:
    async def work(database: Database) -> Token:
        from torpor_router.access.store import Store

        ended = await Store(database).revoke_token("", name)
        await note(database, "token revoke", "", name, before={"role": ended.role})
        return ended

    return _database(deployment).run(work)


def _database(deployment: Deployment) -> Storage:
    """
    Raises:
        click.UsageError: a router is meant.
    """
    if deployment.target is not None:
        raise click.UsageError(
            "operators' own tokens are made and ended on the database (--database-url, --data)"
        )
    return deployment.storage
