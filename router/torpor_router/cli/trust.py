"""`torpor trust`."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import click

from torpor_router.cli.acting import note
from torpor_router.cli.arguments import ROLES, Duration, read_settings
from torpor_router.cli.output import Column, Output, with_output
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
@click.argument("name")
@click.option("--issuer", required=True, metavar="URL", help="As 'iss' says it, to the letter.")
@click.option("--audience", required=True, help="What the job asks its token for.")
@click.option("--subject", required=True, metavar="PATTERN", help="Whom it means.")
@click.option(
    "--claim",
    "claims",
    metavar="NAME=PATTERN",
    multiple=True,
    callback=read_settings,
    help="What else must be so; may be repeated.",
)
@click.option("--role", type=ROLES, default="ci", show_default=True)
@click.option("--satellite", "satellites", multiple=True, metavar="NAME", help="Only for this one.")
@click.option("--lifetime", type=Duration(), default="1h", show_default=True, help="1d at most.")
@click.option("--once", is_flag=True, help="Each identity token is good for one exchange.")
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

    _answer(storage.run(work), "Added", output)


@trust.command()
@click.argument("org")
@with_storage
@with_output
def ls(org: str, output: Output, storage: Storage) -> None:
    """List whom ORG trusts."""

    async def work(database: Database) -> list[TrustRule]:
        from torpor_router.access.oidc.store import TrustRules

        return await TrustRules(database).all(org)

    rules = storage.run(work)
    if output.as_json:
        output.json(rules)
        return
    output.table(
        ["name", Column("issuer", wraps=True), Column("subject", wraps=True), "role"],
        [(each.name, each.issuer, each.subject, each.role) for each in rules],
        empty=f"Nobody is trusted yet: torpor trust add {org} NAME --issuer URL …",
    )


@trust.command()
@click.argument("org")
@click.argument("name")
@with_storage
@with_output
def rm(org: str, name: str, output: Output, storage: Storage) -> None:
    """Trust no longer, and end the tokens that were given for it within 2 seconds."""

    async def work(database: Database) -> TrustRule:
        from torpor_router.access.oidc.store import TrustRules

        removed = await TrustRules(database).remove(org, name)
        await note(database, "trust rm", org, name, before={"issuer": removed.issuer})
        return removed

    _answer(storage.run(work), "Removed", output)


def _answer(rule: TrustRule, done: str, output: Output) -> None:
    output.answer(rule, f"{done} {rule.org}/{rule.name}.")
