"""`torpor trust`."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import click

from torpor_router.cli.access_tables import NAME, NEW_RULE, show_rule, show_rules
from torpor_router.cli.acting import note
from torpor_router.cli.output import Output, with_output
from torpor_router.cli.storage import Storage, with_storage

if TYPE_CHECKING:
    from torpor_router.access.oidc.rules import TrustRule
    from torpor_statemachine.postgres.pool import Database


@click.group()
def trust() -> None:
    """Let CI jobs in without a secret, by what their identity provider says of them.

    In --subject and --claim, * stands for anything.
    """


@trust.command()
@click.argument("org")
@NAME
@NEW_RULE
@with_storage
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
    storage: Storage,
) -> None:
    """Let in whom the issuer calls SUBJECT, if its word is for the audience."""

    async def work(database: Database) -> TrustRule:
        from torpor_router.access.oidc.rules import NewTrustRule
        from torpor_router.access.oidc.store import TrustRules
        from torpor_router.access.roles import Role

        new = NewTrustRule(
            name=name,
            issuer=issuer,
            audience=audience,
            subject=subject,
            role=Role(role),
            claims=claims,
            satellites=satellites or None,
            lifetime=lifetime,
            once=once,
        )
        made = await TrustRules(database).add(org, new)
        after = {"issuer": issuer, "subject": subject, "role": role}
        await note(database, "trust add", org, name, after=after)
        return made

    show_rule(output, storage.run(work), "Added")


@trust.command()
@click.argument("org")
@with_storage
@with_output
def ls(org: str, output: Output, storage: Storage) -> None:
    """List whom ORG trusts."""

    async def work(database: Database) -> list[TrustRule]:
        from torpor_router.access.oidc.store import TrustRules

        return await TrustRules(database).all(org)

    show_rules(output, storage.run(work), add=f"torpor trust add {org} NAME")


@trust.command()
@click.argument("org")
@NAME
@with_storage
@with_output
def rm(org: str, name: str, output: Output, storage: Storage) -> None:
    """Trust no longer, and end the tokens that were given for it within 2 seconds."""

    async def work(database: Database) -> TrustRule:
        from torpor_router.access.oidc.store import TrustRules

        removed = await TrustRules(database).remove(org, name)
        await note(database, "trust rm", org, name, before={"issuer": removed.issuer})
        return removed

    show_rule(output, storage.run(work), "Removed")
