"""`torpor member`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from torpor_router.cli.acting import note
from torpor_router.cli.arguments import ROLES
from torpor_router.cli.output import Column, Output, with_output
from torpor_router.cli.storage import Storage, with_storage

if TYPE_CHECKING:
    from torpor_router.access.members import Member
    from torpor_statemachine.postgres.pool import Database


@click.group()
def member() -> None:
    """Add, list, change and remove the people and services of an org.

    A member's tokens may do no more than the member, and end with them.
    """


@member.command()
@click.argument("org")
@click.argument("name")
@click.option("--role", type=ROLES, required=True)
@click.option("--service", is_flag=True, help="A service account, not a person.")
@with_storage
@with_output
def add(*, org: str, name: str, role: str, service: bool, output: Output, storage: Storage) -> None:
    """Add NAME to ORG."""

    async def work(database: Database) -> Member:
        from torpor_router.access.members import Members
        from torpor_router.access.roles import Role

        made = await Members(database).add(org, name, Role(role), service=service)
        await note(database, "member add", org, name, after={"role": role, "kind": made.kind})
        return made

    made = storage.run(work)
    output.answer(made, f"Added {name}. Next: torpor token create {org} TOKEN --member {name}")


@member.command()
@click.argument("org")
@with_storage
@with_output
def ls(org: str, output: Output, storage: Storage) -> None:
    """List the members of ORG."""

    async def work(database: Database) -> list[Member]:
        from torpor_router.access.members import Members

        return await Members(database).all(org)

    members = storage.run(work)
    if output.as_json:
        output.json(members)
        return
    output.table(
        [Column("member", wraps=True), "kind", "role", Column("tokens", right=True), "added"],
        [(each.name, each.kind, each.role, each.tokens, each.created_at) for each in members],
        empty=f"There are no members yet: torpor member add {org} NAME --role ROLE",
    )


@member.command(name="set")
@click.argument("org")
@click.argument("name")
@click.option("--role", type=ROLES, required=True)
@with_storage
@with_output
def change(org: str, name: str, role: str, output: Output, storage: Storage) -> None:
    """Give NAME another role: within 2 seconds every router knows."""

    async def work(database: Database) -> Member:
        from torpor_router.access.members import Members
        from torpor_router.access.roles import Role

        changed = await Members(database).change(org, name, Role(role))
        await note(database, "member set", org, name, after={"role": role})
        return changed

    changed = storage.run(work)
    output.answer(changed, f"{changed.name} is now {changed.role}.")


@member.command()
@click.argument("org")
@click.argument("name")
@with_storage
@with_output
def rm(org: str, name: str, output: Output, storage: Storage) -> None:
    """Remove NAME from ORG, and end their tokens within 2 seconds."""

    async def work(database: Database) -> Member:
        from torpor_router.access.members import Members

        removed = await Members(database).remove(org, name)
        await note(database, "member rm", org, name, before={"role": removed.role})
        return removed

    removed = storage.run(work)
    output.answer(removed, f"Removed {removed.name}.")
