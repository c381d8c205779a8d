"""`torpor org`."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING
from uuid import UUID

import click

from torpor_router.cli.acting import actor, note
from torpor_router.cli.confirmation import confirm
from torpor_router.cli.output import Column, Output, with_output
from torpor_router.cli.storage import Storage, with_storage

if TYPE_CHECKING:
    from torpor_router.access.removal import Belongings
    from torpor_router.access.store import Org
    from torpor_statemachine.postgres.pool import Database


_LOOK = 0.5  # seconds between two looks at satellites that end


@click.group()
def org() -> None:
    """Make, list and remove orgs. Each owns its satellites and tokens."""


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
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_storage
@with_output
def rm(*, name: str, yes: bool, output: Output, storage: Storage) -> None:
    """Remove an org: its satellites, their disks, and everything that lets anyone in.

    Nobody of it gets in any more; then its satellites are ended, although builds run on them, and
    its name is free. Interrupted, it is gone on with by the same command. The audit log stays.
    """

    async def belongings(database: Database) -> Belongings:
        from torpor_router.access.removal import Removal

        return await Removal(database).belongings(name)

    has = storage.run(belongings)
    confirm(f"This removes the org {name!r}: {has}.", name, yes=yes)

    async def work(database: Database) -> None:
        from torpor_router.access.removal import Removal

        removal = Removal(database)
        await removal.close(has.id)
        await note(database, "org rm", name, "", before={"satellites": has.satellites})
        while not await removal.free(has.id):
            await _end(database, (await removal.belongings(name)).satellite_ids)
            await asyncio.sleep(_LOOK)

    storage.run(work)
    output.answer(has, f"Removed {name}.")


async def _end(database: Database, satellite_ids: list[UUID]) -> None:
    """Those that can be ended now; the others are in the midst of something."""
    from torpor_statemachine.errors import UnknownSatellite, WrongState
    from torpor_statemachine.shell import Shell

    shell = Shell(database)
    for satellite_id in satellite_ids:
        with suppress(WrongState, UnknownSatellite):
            await shell.terminate(satellite_id, actor(), force=True)


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
