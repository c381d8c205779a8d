"""`torpor runaway`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from torpor_router.cli.acting import actor, note
from torpor_router.cli.arguments import Duration
from torpor_router.cli.output import Column, Output, with_output
from torpor_router.cli.storage import Storage, with_storage

if TYPE_CHECKING:
    from torpor_statemachine.postgres.pool import Database
    from torpor_statemachine.store.runaways import Runaway


@click.group()
def runaway() -> None:
    """Satellites that are awake far beyond their own past, with few builds to show for it.

    Each is told in a notice once a day. They may also be suspended: put to sleep, and not woken
    until they are allowed to.
    """


@runaway.command()
@with_storage
@with_output
def ls(output: Output, storage: Storage) -> None:
    """List the alarms of the last 30 days."""

    async def work(database: Database) -> list[Runaway]:
        from torpor_statemachine.store.runaways import Runaways

        return await Runaways(database).all()

    found = storage.run(work)
    if output.as_json:
        output.json(found)
        return
    output.table(
        ["satellite", "state", "day", "suspended", Column("why", wraps=True)],
        [
            (f"{each.org}/{each.name}", each.state, each.day, each.suspended, each.detail)
            for each in found
        ],
        empty="There are none.",
    )


@runaway.command(name="set")
@click.option("--org", help="For this org; else for all that have no choice of their own.")
@click.option("--suspend/--notice", "suspends", required=True, help="What an alarm leads to.")
@with_storage
@with_output
def choose(*, org: str | None, suspends: bool, output: Output, storage: Storage) -> None:
    """Choose what alarms lead to from now on; a notice alone unless chosen."""

    async def work(database: Database) -> None:
        from torpor_router.access.store import Store
        from torpor_statemachine.store.runaways import Runaways

        org_id = None if org is None else (await Store(database).org(org)).id
        await Runaways(database).choose(org_id, suspends=suspends, actor=actor())
        await note(database, "runaway set", org or "", "", after={"suspends": suspends})

    storage.run(work)
    then = "are suspended" if suspends else "are told in a notice"
    output.answer(
        {"org": org, "suspends": suspends}, f"Runaways of {org or 'every other org'} {then}."
    )


@runaway.command()
@click.argument("satellite", metavar="ORG/NAME")
@click.option(
    "--for", "lasts", type=Duration(), default="7d", show_default=True, help="No alarm before."
)
@with_storage
@with_output
def allow(*, satellite: str, lasts: timedelta, output: Output, storage: Storage) -> None:
    """Let a satellite go on: it wakes again, and is no alarm for a while."""
    org, _, name = satellite.partition("/")

    async def work(database: Database) -> None:
        from torpor_statemachine.store.runaways import Runaways

        await Runaways(database).allow(org, name, lasts)
        await note(database, "runaway allow", org, name, after={"for": lasts.total_seconds()})

    storage.run(work)
    until = datetime.now(UTC) + lasts
    output.answer(
        {"satellite": satellite, "until": until},
        f"{satellite} may wake, and is no alarm until {until:%Y-%m-%d %H:%MZ}.",
    )
