"""`torpor member`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from torpor_router.cli.access_tables import (
    NAME,
    ROLE,
    SERVICE,
    show_added_member,
    show_changed_member,
    show_members,
    show_removed_member,
)
from torpor_router.cli.acting import note
from torpor_router.cli.output import Output, with_output
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
@NAME
@ROLE
@SERVICE
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

    show_added_member(output, storage.run(work), create=f"torpor token create {org} TOKEN")


@member.command()
@click.argument("org")
@with_storage
@with_output
def ls(org: str, output: Output, storage: Storage) -> None:
    """List the members of ORG."""

    async def work(database: Database) -> list[Member]:
        from torpor_router.access.members import Members

        return await Members(database).all(org)

    show_members(output, storage.run(work), add=f"torpor member add {org} NAME")


@member.command(name="set")
@click.argument("org")
@NAME
@ROLE
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

    show_changed_member(output, storage.run(work))


@member.command()
@click.argument("org")
@NAME
@with_storage
@with_output
def rm(org: str, name: str, output: Output, storage: Storage) -> None:
    """Remove NAME from ORG, and end their tokens within 2 seconds."""

    async def work(database: Database) -> Member:
        from torpor_router.access.members import Members

        removed = await Members(database).remove(org, name)
        await note(database, "member rm", org, name, before={"role": removed.role})
        return removed

    show_removed_member(output, storage.run(work))
