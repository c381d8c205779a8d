"""`torpor org`."""

from __future__ import annotations

import click

from torpor_router.cli.confirmation import confirm
from torpor_router.cli.deployment import Deployment, OperatorCommand, with_deployment
from torpor_router.cli.output import Column, Output, with_output


@click.group()
def org() -> None:
    """Make, list and remove orgs. Each owns its satellites and tokens."""


@org.command(cls=OperatorCommand)
@click.argument("name")
@with_deployment
@with_output
def create(name: str, output: Output, deployment: Deployment) -> None:
    """Make an org: lower-case letters, digits and hyphens, 40 at most."""
    from torpor_router.cli.operator_client import OperatorClient

    with deployment.client(OperatorClient) as client:
        made = client.create_org(name)
    output.answer(made, f"Made {made.name}. Next: torpor token create {made.name} NAME")


@org.command(cls=OperatorCommand)
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_deployment
@with_output
def rm(*, name: str, yes: bool, output: Output, deployment: Deployment) -> None:
    """Remove an org: its satellites, their disks, and everything that lets anyone in.

    Nobody of it gets in any more; then its satellites are ended, although builds run on them, and
    its name is free. Interrupted, it is gone on with by the same command. The audit log stays.
    """
    from torpor_router.cli.operator_client import OperatorClient

    with deployment.client(OperatorClient) as client:
        has = client.belongings(name)
    confirm(f"This removes the org {name!r}: {has}.", name, yes=yes)
    with deployment.client(OperatorClient) as client:
        for _ in client.remove_org(name):
            pass
    output.answer(has, f"Removed {name}.")


@org.command(cls=OperatorCommand)
@with_deployment
@with_output
def ls(output: Output, deployment: Deployment) -> None:
    """List orgs."""
    from torpor_router.cli.operator_client import OperatorClient

    with deployment.client(OperatorClient) as client:
        orgs = client.orgs()
    if output.as_json:
        output.json(orgs)
        return
    output.table(
        ["org", Column("satellites", right=True), Column("tokens", right=True), "created"],
        [(each.name, each.satellites, each.tokens, each.created_at) for each in orgs],
        empty="There are no orgs yet: torpor org create NAME",
    )
