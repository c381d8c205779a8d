"""Tokens, members, trust rules and the audit log: what `torpor` and `satellite` both take and show.

Both get them by calls of torpor.v1.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from torpor_router.cli.arguments import ROLES, Duration, read_settings
from torpor_router.cli.output import Column, Output, shown
from torpor_router.durations import duration

if TYPE_CHECKING:
    from torpor_router.access.store import Token
    from torpor_router.control.access_views import ActView, MemberView, TokenView, TrustRuleView

    _Token = Token | TokenView  # operators' own are read from the database

OPERATORS = "-"  # in the place of an org: the platform team itself
NAME = click.argument("name")
ROLE = click.option("--role", type=ROLES, required=True)
REVOKED = click.option("--revoked", is_flag=True, help="Those that were revoked, too.")
SERVICE = click.option("--service", is_flag=True, help="A service account, not a person.")
SATELLITES = click.option(
    "--satellite",
    "satellites",
    multiple=True,
    metavar="NAME",
    help="Only for this one of the org's; repeat for several.",
)
SINCE = click.option(
    "--since", type=Duration(), default="1d", show_default=True, metavar="DURATION"
)


def _together(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def decorate(function: Any) -> Any:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


NEW_TOKEN = _together(
    click.option("--role", type=ROLES, help="What it may do: 'admin' unless said."),
    SATELLITES,
    click.option("--member", metavar="NAME", help="Whose it is: it may do no more than they."),
    click.option("--expires", type=Duration(), metavar="DURATION", help="Such as 90d; else never."),
)
ROTATION = _together(
    click.option(
        "--overlap",
        type=Duration(),
        default="1h",
        show_default=True,
        help="That the old one lasts.",
    ),
    click.option("--now", is_flag=True, help="End the old one at once, as where it has leaked."),
    click.option(
        "--expires", type=Duration(), metavar="DURATION", help="Else as long as the old one."
    ),
)
NEW_RULE = _together(
    click.option("--issuer", required=True, metavar="URL", help="As 'iss' says it, to the letter."),
    click.option("--audience", required=True, help="What the job asks its token for."),
    click.option("--subject", required=True, metavar="PATTERN", help="Whom it means."),
    click.option(
        "--claim",
        "claims",
        metavar="NAME=PATTERN",
        multiple=True,
        callback=read_settings,
        help="What else must be so; may be repeated.",
    ),
    click.option("--role", type=ROLES, default="ci", show_default=True),
    click.option(
        "--satellite", "satellites", multiple=True, metavar="NAME", help="Only for this one."
    ),
    click.option(
        "--lifetime", type=Duration(), default="1h", show_default=True, help="1d at most."
    ),
    click.option("--once", is_flag=True, help="Each identity token is good for one exchange."),
)


def show_new_token(output: Output, made: _Token, text: str, *remarks: str) -> None:
    """Print the token's text, alone on standard output."""
    if output.as_json:
        output.json({**dataclasses.asdict(made), "token": text})
        return
    for remark in remarks:
        output.remark(remark)
    output.say(text)


def show_created_token(output: Output, made: _Token, text: str, *, everything: bool) -> None:
    """`everything`: nobody chose its role, so that it may do everything in the org."""
    remarks = ["Keep it now, it is not shown again. Clients send it as 'authorization: Bearer …'"]
    if everything:
        remarks.append("It may do everything in the org: give --role ci to CI jobs.")
    show_new_token(output, made, text, *remarks)


def show_rotated_token(output: Output, made: _Token, text: str, overlap: timedelta) -> None:
    until = f"ends in {duration(overlap)}" if overlap else "has ended"
    show_new_token(output, made, text, f"Keep it now, it is not shown again. The old one {until}.")


def show_narrowed_token(output: Output, token: _Token) -> None:
    output.answer(token, f"{_full(token)} may now: {_may(token)}.")


def show_revoked_token(output: Output, token: _Token) -> None:
    output.answer(token, f"Revoked {_full(token)}.")


def show_tokens(output: Output, tokens: Sequence[_Token], *, create: str, narrow: str) -> None:
    """`create` and `narrow` are the commands that do so, with their arguments."""
    if output.as_json:
        output.json(tokens)
        return
    output.table(
        [
            *("org", Column("token", wraps=True), Column("may", wraps=True), "state"),
            *("used", "expires"),
        ],
        [
            (
                *(each.org or OPERATORS, each.name, _may(each), each.state),
                *(each.used_at or "never", each.expires_at or "never"),
            )
            for each in tokens
        ],
        empty=f"There are no tokens yet: {create}",
    )
    if any(each.from_before_roles for each in tokens):
        output.remark(f"Old ones may do everything: {narrow} --role ROLE")


def show_added_member(output: Output, member: MemberView, *, create: str) -> None:
    """`create` is the command that makes a token, without --member."""
    output.answer(member, f"Added {member.name}. Next: {create} --member {member.name}")


def show_changed_member(output: Output, member: MemberView) -> None:
    output.answer(member, f"{member.name} is now {member.role}.")


def show_removed_member(output: Output, member: MemberView) -> None:
    output.answer(member, f"Removed {member.name}.")


def show_members(output: Output, members: Sequence[MemberView], *, add: str) -> None:
    if output.as_json:
        output.json(members)
        return
    output.table(
        [Column("member", wraps=True), "kind", "role", Column("tokens", right=True), "added"],
        [(each.name, each.kind, each.role, each.tokens, each.created_at) for each in members],
        empty=f"There are no members yet: {add} --role ROLE",
    )


def show_rule(output: Output, rule: TrustRuleView, done: str) -> None:
    """`done` is "Added" or "Removed"."""
    output.answer(rule, f"{done} {rule.org}/{rule.name}.")


def show_rules(output: Output, rules: Sequence[TrustRuleView], *, add: str) -> None:
    if output.as_json:
        output.json(rules)
        return
    output.table(
        ["name", Column("issuer", wraps=True), Column("subject", wraps=True), "role"],
        [(each.name, each.issuer, each.subject, each.role) for each in rules],
        empty=f"Nobody is trusted yet: {add} --issuer URL …",
    )


def show_acts(output: Output, acts: Iterable[ActView]) -> None:
    """For people; a program reads an object a line."""
    output.table(
        [
            *("at", "org", Column("who", wraps=True), Column("what", wraps=True)),
            *(Column("on", wraps=True), "result"),
        ],
        [(each.at, each.org, each.actor, each.action, each.target, each.result) for each in acts],
        empty="Nothing was changed in that time.",
    )


def _full(token: _Token) -> str:
    return f"{token.org or OPERATORS}/{token.name}"


def _may(token: _Token) -> str:
    role = "admin (old)" if token.from_before_roles else shown(token.role)
    return f"{role}: {', '.join(token.satellites)}" if token.satellites else role
