"""`torpor limit`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from torpor_router.cli.acting import actor, note
from torpor_router.cli.output import Column, Output, with_output
from torpor_router.cli.storage import Storage, with_storage

if TYPE_CHECKING:
    from torpor_statemachine.postgres.pool import Database
    from torpor_statemachine.store.limits import OrgLimits

_NONE = "none"


class _Limit(click.ParamType):
    name = "number"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | str:
        if value == _NONE or isinstance(value, int):
            return value
        if not value.isdecimal():
            self.fail(f"{value!r} is no whole number, nor 'none'", param, ctx)
        return int(value)


def _option(name: str, what: str) -> Any:
    return click.option(name, type=_Limit(), metavar="N|none", help=what)


@click.group()
def limit() -> None:
    """Limit what an org's satellites may cost."""


@limit.command(name="set")
@click.argument("org")
@_option("--machines", "Satellites that it may have.")
@_option("--awake", "Satellites that may be awake at once.")
@_option("--wakes-per-hour", "How often one satellite may be woken in an hour.")
@with_storage
@with_output
def set_(org: str, *, output: Output, storage: Storage, **wanted: int | str | None) -> None:
    """Limit an org from the next launch or wake on; 'none' takes a limit away.

    What is not given stays. Nothing that is awake is put to sleep; a request that needs a wake
    beyond the limit is refused with TPR-2050.
    """
    given = {name: value for name, value in wanted.items() if value is not None}
    if not given:
        raise click.UsageError("nothing to limit: give --machines, --awake or --wakes-per-hour")

    async def work(database: Database) -> OrgLimits:
        from torpor_router.access.store import Store
        from torpor_statemachine.store.limits import Limits, LimitStore

        org_id, store = (await Store(database).org(org)).id, LimitStore(database)
        kept = [each.limits for each in await store.all(org_id)]
        before = asdict(kept[0] if kept else Limits())
        after = before | {
            name: None if value == _NONE else int(value) for name, value in given.items()
        }
        await store.set(org_id, Limits(**after), actor())
        await note(database, "limit set", org, "", before=before, after=after)
        [made] = await store.all(org_id)
        return made

    made = storage.run(work)
    output.answer(made, f"{org}: {_said(made)}.")


@limit.command()
@click.argument("org")
@with_storage
@with_output
def rm(org: str, *, output: Output, storage: Storage) -> None:
    """Take all of an org's limits away."""

    async def work(database: Database) -> bool:
        from torpor_router.access.store import Store
        from torpor_statemachine.store.limits import LimitStore

        removed = await LimitStore(database).remove((await Store(database).org(org)).id)
        if removed:
            await note(database, "limit rm", org, "")
        return removed

    removed = storage.run(work)
    text = f"{org} has no limits any more." if removed else f"{org} had no limits."
    output.answer({"org": org, "removed": removed}, text)


@limit.command()
@with_storage
@with_output
def ls(output: Output, storage: Storage) -> None:
    """List the limits, and what each org has now."""

    async def work(database: Database) -> list[OrgLimits]:
        from torpor_statemachine.store.limits import LimitStore

        return await LimitStore(database).all()

    found = storage.run(work)
    if output.as_json:
        output.json(found)
        return
    output.table(
        ["org", "machines", "awake", "wakes per hour", Column("set by", wraps=True)],
        [
            (
                each.org,
                _of(each.machines_now, each.machines),
                _of(each.awake_now, each.awake),
                "-" if each.wakes_per_hour is None else each.wakes_per_hour,
                each.set_by,
            )
            for each in found
        ],
        empty="No org has limits.",
    )


def _said(made: OrgLimits) -> str:
    words = {"satellites": made.machines, "awake at once": made.awake}
    said = [f"{most} {what}" for what, most in words.items() if most is not None]
    if made.wakes_per_hour is not None:
        said.append(f"{made.wakes_per_hour} wakes of a satellite in an hour")
    return f"at most {', '.join(said)}" if said else "no limits"


def _of(there: int, most: int | None) -> str:
    return f"{there} of {most}" if most is not None else str(there)
