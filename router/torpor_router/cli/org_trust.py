"""`satellite trust`: an org's admin says which CI jobs come in without a secret."""

from __future__ import annotations

from datetime import timedelta

from torpor_router.cli.access_tables import NAME, NEW_RULE, show_rule, show_rules
from torpor_router.cli.connection import Target
from torpor_router.cli.examples import with_example
from torpor_router.cli.output import Output
from torpor_router.cli.owner import access_client_of, command, main


@main.group()
@with_example("satellite trust ls")
def trust() -> None:
    """Let CI jobs in without a secret, by what their identity provider says of them.

    For the org's admins. In --subject and --claim, * stands for anything.
    """


@command(
    "add",
    """
    satellite trust add web --issuer https://gitlab.com \\
      --audience torpor --subject "project_path:acme/web:*"
    """,
    group=trust,
)
@NAME
@NEW_RULE
def add(
    *,
    name: str,
    issuer: str,
    audience: str,
    subject: str,
    claims: dict[str, str],
    role: str,
    satellites: tuple[str, ...],
    lifetime: timedelta,
    once: bool,
    target: Target,
    output: Output,
) -> None:
    """Let in whom the issuer calls SUBJECT, if its word is for the audience."""
    with access_client_of(target) as client:
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


@command("ls", "satellite trust ls --json", group=trust)
def ls(*, target: Target, output: Output) -> None:
    """List whom the org trusts."""
    with access_client_of(target) as client:
        rules = client.rules()
    show_rules(output, rules, add="satellite trust add NAME")


@command("rm", "satellite trust rm web", group=trust)
@NAME
def rm(*, name: str, target: Target, output: Output) -> None:
    """Trust no longer, and end the tokens that were given for it within 2 seconds."""
    with access_client_of(target) as client:
        removed = client.remove_rule(name)
    show_rule(output, removed, "Removed")
