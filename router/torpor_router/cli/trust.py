"""`torpor trust`."""

from __future__ import annotations

from datetime import timedelta

import click

from torpor_router.cli.access_tables import NAME, NEW_RULE, show_rule, show_rules
from torpor_router.cli.deployment import Deployment, OperatorCommand, with_deployment
from torpor_router.cli.output import Output, with_output


@click.group()
def trust() -> None:
    """Let CI jobs in without a secret, by what their identity provider says of them.

    In --subject and --claim, * stands for anything.
    """


@trust.command(cls=OperatorCommand)
@click.argument("org")
@NAME
@NEW_RULE
@with_deployment
@with_output
def add(
    *,
    org: str,
    name: str,
    issuer: str,
    audience: str,
    subject: str,
    claims: dict[str, str],
    role: str,
    satellites: tuple[str, ...],
    lifetime: timedelta,
    once: bool,
    output: Output,
    deployment: Deployment,
) -> None:
    """Let in whom the issuer calls SUBJECT, if its word is for the audience."""
    from torpor_router.cli.access_client import AccessClient

    with deployment.client(AccessClient, org) as client:
        made = client.add_rule(
            name,
            issuer=issuer,
            audience=audience,
            subject=subject,
            claims=claims,
            role=role,
            satellites=satellites,
            lifetime=lifetime,
            once=once,
        )
    show_rule(output, made, "Added")


@trust.command(cls=OperatorCommand)
@click.argument("org")
@with_deployment
@with_output
def ls(org: str, output: Output, deployment: Deployment) -> None:
    """List whom ORG trusts."""
    from torpor_router.cli.access_client import AccessClient

    with deployment.client(AccessClient, org) as client:
        rules = client.rules()
    show_rules(output, rules, add=f"torpor trust add {org} NAME")


@trust.command(cls=OperatorCommand)
@click.argument("org")
@NAME
@with_deployment
@with_output
def rm(org: str, name: str, output: Output, deployment: Deployment) -> None:
    """Trust no longer, and end the tokens that were given for it within 2 seconds."""
    from torpor_router.cli.access_client import AccessClient

    with deployment.client(AccessClient, org) as client:
        removed = client.remove_rule(name)
    show_rule(output, removed, "Removed")
