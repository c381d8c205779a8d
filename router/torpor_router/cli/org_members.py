"""`satellite member`: an org's admin adds, lists, changes and removes its members."""

from __future__ import annotations

from torpor_router.cli.access_tables import (
    NAME,
    ROLE,
    SERVICE,
    show_added_member,
    show_changed_member,
    show_members,
    show_removed_member,
)
from torpor_router.cli.connection import Target
from torpor_router.cli.examples import with_example
from torpor_router.cli.output import Output
from torpor_router.cli.owner import access_client_of, command, main


@main.group()
@with_example("satellite member add ann --role member")
def member() -> None:
    """Add, list, change and remove your org's people and services.

    For the org's admins. A member's tokens may do no more than the member, and end with them.
    """


@command("add", "satellite member add ann --role member", group=member)
@NAME
@ROLE
@SERVICE
def add(*, name: str, role: str, service: bool, target: Target, output: Output) -> None:
    """Add NAME to the org."""
    with access_client_of(target) as client:
        made = client.add_member(name, role, service=service)
    show_added_member(output, made, create="satellite token create TOKEN")


@command("ls", "satellite member ls --json", group=member)
def ls(*, target: Target, output: Output) -> None:
    """List the members of the org."""
    with access_client_of(target) as client:
        members = client.members()
    show_members(output, members, add="satellite member add NAME")


@command("set", "satellite member set ann --role viewer", group=member)
@NAME
@ROLE
def change(*, name: str, role: str, target: Target, output: Output) -> None:
    """Give NAME another role: within 2 seconds every router knows."""
    with access_client_of(target) as client:
        changed = client.change_member(name, role)
    show_changed_member(output, changed)


@command("rm", "satellite member rm ann", group=member)
@NAME
def rm(*, name: str, target: Target, output: Output) -> None:
    """Remove NAME from the org, and end their tokens within 2 seconds."""
    with access_client_of(target) as client:
        removed = client.remove_member(name)
    show_removed_member(output, removed)
