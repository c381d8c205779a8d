"""`torpor member`."""

from __future__ import annotations

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
from torpor_router.cli.deployment import Deployment, OperatorCommand, with_deployment
from torpor_router.cli.output import Output, with_output


@click.group()
def member() -> None:
    """Add, list, change and remove the people and services of an org.

    A member's tokens may do no more than the member, and end with them.
    """


@member.command(cls=OperatorCommand)
@click.argument("org")
@NAME
@ROLE
@SERVICE
@with_deployment
@with_output
def add(
    *, org: str, name: str, role: str, service: bool, output: Output, deployment: Deployment
) -> None:
    """Add NAME to ORG."""
    from torpor_router.cli.access_client import AccessClient

    with deployment.client(AccessClient, org) as client:
        made = client.add_member(name, role, service=service)
    show_added_member(output, made, create=f"torpor token create {org} TOKEN")


@member.command(cls=OperatorCommand)
@click.argument("org")
@with_deployment
@with_output
def ls(org: str, output: Output, deployment: Deployment) -> None:
    """List the members of ORG."""
    from torpor_router.cli.access_client import AccessClient

    with deployment.client(AccessClient, org) as client:
        members = client.members()
    show_members(output, members, add=f"torpor member add {org} NAME")


@member.command(name="set", cls=OperatorCommand)
@click.argument("org")
@NAME
@ROLE
@with_deployment
@with_output
def change(org: str, name: str, role: str, output: Output, deployment: Deployment) -> None:
    """Give NAME another role: within 2 seconds every router knows."""
    from torpor_router.cli.access_client import AccessClient

    with deployment.client(AccessClient, org) as client:
        changed = client.change_member(name, role)
    show_changed_member(output, changed)


@member.command(cls=OperatorCommand)
@click.argument("org")
@NAME
@with_deployment
@with_output
def rm(org: str, name: str, output: Output, deployment: Deployment) -> None:
    """Remove NAME from ORG, and end their tokens within 2 seconds."""
    from torpor_router.cli.access_client import AccessClient

    with deployment.client(AccessClient, org) as client:
        removed = client.remove_member(name)
    show_removed_member(output, removed)
