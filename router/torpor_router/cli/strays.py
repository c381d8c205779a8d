"""`torpor fleet strays`, `adopt` and `end`: machines whose satellites are not in the database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from torpor_provisioner.contract import Arch
from torpor_router.cli.confirmation import confirm
from torpor_router.cli.output import Output, with_output
from torpor_router.cli.storage import Storage, with_storage
from torpor_router.durations import ago

if TYPE_CHECKING:
    from torpor_statemachine.postgres.pool import Database
    from torpor_statemachine.store.strays import Stray

_REF = click.argument("ref")


@click.command()
@with_storage
@with_output
def strays(output: Output, storage: Storage) -> None:
    """List machines of this deployment whose satellites were never in this database.

    They are another database's, or this one's from before it was restored, or a failover lost
    their rows. They run, and cost, until they are adopted or ended.
    """

    async def work(database: Database) -> list[Stray]:
        from torpor_statemachine.store.strays import Strays

        return await Strays(database).all()

    found = storage.run(work)
    if output.as_json:
        output.json(found)
        return
    output.table(
        ["machine", "provisioner", "satellite", "generation", "known for", "ending"],
        [
            (
                *(each.ref, each.provisioner, each.satellite_id, each.generation),
                *(ago(each.first_seen, each.read_at), "yes" if each.ending else ""),
            )
            for each in found
        ],
        empty="There are none.",
    )


@click.command()
@_REF
@click.argument("org")
@click.argument("name")
@click.option(
    "--arch",
    type=click.Choice([str(arch) for arch in Arch]),
    default=str(Arch.X86_64),
    show_default=True,
    help="What the machine runs.",
)
@with_storage
@with_output
def adopt(*, ref: str, org: str, name: str, arch: str, output: Output, storage: Storage) -> None:
    """Make the stray machine REF the satellite NAME of ORG."""

    async def work(database: Database) -> None:
        from torpor_router.access.store import Store
        from torpor_router.names import is_name
        from torpor_statemachine.errors import BadSatellite
        from torpor_statemachine.store.strays import Strays

        if not is_name(name) or "--" in name:
            raise BadSatellite(f"name {name[:80]!r}")
        owner = await Store(database).org(org)
        await Strays(database).adopt(ref, owner.id, name, Arch(arch))

    storage.run(work)
    output.answer(
        {"ref": ref, "satellite": f"{org}/{name}"},
        f"{ref} is {org}/{name}; the routers look at it within a minute.",
    )


@click.command()
@_REF
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_storage
@with_output
def end(ref: str, *, yes: bool, output: Output, storage: Storage) -> None:
    """End the stray machine REF and its disk. A router does so in its next search."""
    confirm(f"This ends {ref!r} and deletes its disk.", ref, yes=yes)

    async def work(database: Database) -> None:
        from torpor_statemachine.store.strays import Strays

        await Strays(database).end(ref)

    storage.run(work)
    output.answer({"ref": ref}, f"{ref} is ended in the routers' next search, within 5 minutes.")
