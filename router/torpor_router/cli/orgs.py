"""`torpor org`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from torpor_router.cli.acting import note
from torpor_router.cli.output import Column, Output, with_output
from torpor_router.cli.storage import Storage, with_storage

if TYPE_CHECKING:
    from torpor_router.access.store import Org
    from torpor_statemachine.postgres.pool import Database


@click.group()
def org() -> None:
    """Make and list orgs. Each owns its satellites and tokens."""


@org.command()
@click.argument("name")
@with_storage
@with_output
def create(name: str, output: Output, storage: Storage) -> None:
    """Make an org: lower-case letters, digits and hyphens, 40 at most."""

    async def work(database: Database) -> Org:
        from torpor_router.access.store import Store

        made = await Store(database).create_org(name)
        await note(database, "org create", name, "")
        return made

    made = storage.run(work)
    output.answer(made, f"Made {made.name}. Next: torpor token create {made.name} NAME")


@org.command()
@with_storage
@with_output
def ls(output: Output, storage: Storage) -> None:
    """List orgs."""

    async def work(database: Database) -> list[Org]:
        from torpor_router.access.store import Store

        return await Store(database).orgs()

    orgs = storage.run(work)
    if output.as_json:
        output.json(orgs)
        return
    output.table(
        ["org", Column("satellites", right=True), Column("tokens", right=True), "created"],
        [(each.name, each.satellites, each.tokens, each.created_at) for each in orgs],
        empty="There are no orgs yet: torpor org create NAME",
    )
