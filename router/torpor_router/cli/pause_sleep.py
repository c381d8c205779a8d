"""`torpor pause-sleep`."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import click

from torpor_router.cli.acting import actor, note
from torpor_router.cli.arguments import Duration
from torpor_router.cli.output import Column, Output, with_output
from torpor_router.cli.storage import Storage, with_storage
from torpor_router.durations import duration

if TYPE_CHECKING:
    from torpor_statemachine.postgres.pool import Database
    from torpor_statemachine.store.pauses import Pause

_ORG = click.option("--org", help="The satellites of this org; else all.")


@click.group(name="pause-sleep")
def pause_sleep() -> None:
    """Keep idle satellites awake for a while, as during work on the cloud.

    What is asked for by name still sleeps ('satellite sleep').
    """


@pause_sleep.command()
@_ORG
@click.option(
    "--for", "lasts", type=Duration(), required=True, help="7d at most; it ends by itself."
)
@click.option("--reason", required=True, help="Shown to those who ask why it is awake.")
@with_storage
@with_output
def on(*, org: str | None, lasts: timedelta, reason: str, output: Output, storage: Storage) -> None:
    """Pause sleep from now on. A pause of before is replaced."""

    async def work(database: Database) -> Pause:
        from torpor_statemachine.store.pauses import Pauses

        pauses = Pauses(database)
        await pauses.on(await _id_of(database, org), lasts, reason, actor())
        await note(database, "pause-sleep on", org or "", "", after={"reason": reason})
        [made] = [each for each in await pauses.all() if each.org == org]
        return made

    made = storage.run(work)
    output.answer(
        made,
        f"Nothing idle is put to sleep {_of(org)}, until {made.until:%Y-%m-%d %H:%M:%SZ}.",
    )


@pause_sleep.command()
@_ORG
@with_storage
@with_output
def off(*, org: str | None, output: Output, storage: Storage) -> None:
    """End a pause. What has been idle for long enough is put to sleep at once."""

    async def work(database: Database) -> bool:
        from torpor_statemachine.store.pauses import Pauses

        ended = await Pauses(database).off(await _id_of(database, org))
        if ended:
            await note(database, "pause-sleep off", org or "", "")
        return ended

    ended = storage.run(work)
    text = f"Sleep goes on {_of(org)}." if ended else f"Sleep was not paused {_of(org)}."
    output.answer({"org": org, "ended": ended}, text)


@pause_sleep.command()
@with_storage
@with_output
def ls(output: Output, storage: Storage) -> None:
    """List the pauses that last."""

    async def work(database: Database) -> list[Pause]:
        from torpor_statemachine.store.pauses import Pauses

        return await Pauses(database).all()

    pauses = storage.run(work)
    if output.as_json:
        output.json(pauses)
        return
    output.table(
        ["of", "for another", Column("by", wraps=True), Column("reason", wraps=True)],
        [
            (each.org or "every org", duration(each.until - each.read_at), each.actor, each.reason)
            for each in pauses
        ],
        empty="Sleep is not paused.",
    )


async def _id_of(database: Database, org: str | None) -> UUID | None:
    from torpor_router.access.store import Store

    return None if org is None else (await Store(database).org(org)).id


def _of(org: str | None) -> str:
    return f"of {org}" if org else "of any org"
