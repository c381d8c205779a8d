"""`satellite token`: an org's admin makes, lists, narrows, rotates and revokes its tokens."""

from __future__ import annotations

from datetime import timedelta

from torpor_router.cli.access_tables import (
    NAME,
    NEW_TOKEN,
    REVOKED,
    ROLE,
    ROTATION,
    SATELLITES,
    show_created_token,
    show_narrowed_token,
    show_revoked_token,
    show_rotated_token,
    show_tokens,
)
from torpor_router.cli.connection import Target
from torpor_router.cli.examples import with_example
from torpor_router.cli.output import Output
from torpor_router.cli.owner import access_client_of, command, main


@main.group()
@with_example("satellite token create deploy --role ci --satellite one --expires 90d")
def token() -> None:
    """Make, list, narrow, rotate and revoke your org's tokens.

    For the org's admins; nobody gives more rights than they have.
    """


@command("create", "satellite token create deploy --role ci --satellite one", group=token)
@NAME
@NEW_TOKEN
def create(
    *,
    name: str,
    role: str | None,
    satellites: tuple[str, ...],
    member: str | None,
    expires: timedelta | None,
    target: Target,
    output: Output,
) -> None:
    """Make a token called NAME.

    It is printed once, alone on standard output, and kept nowhere: only its SHA-256 is.
    """
    with access_client_of(target) as client:
        made, text = client.create_token(
            name, role or "admin", satellites, member=member, lifetime=expires
        )
    show_created_token(output, made, text, everything=role is None)


@command("ls", "satellite token ls --revoked", group=token)
@REVOKED
def ls(*, revoked: bool, target: Target, output: Output) -> None:
    """List the org's tokens: what each may do, and when it was used last."""
    with access_client_of(target) as client:
        tokens = client.tokens(revoked=revoked)
    show_tokens(
        output, tokens, create="satellite token create NAME", narrow="satellite token narrow NAME"
    )


@command("narrow", "satellite token narrow deploy --role viewer", group=token)
@NAME
@ROLE
@SATELLITES
def narrow(
    *, name: str, role: str, satellites: tuple[str, ...], target: Target, output: Output
) -> None:
    """Change what a token may do: within 2 seconds every router knows."""
    with access_client_of(target) as client:
        changed = client.narrow_token(name, role, satellites)
    show_narrowed_token(output, changed)


@command("rotate", "satellite token rotate deploy --overlap 1d", group=token)
@NAME
@ROTATION
def rotate(
    *,
    name: str,
    overlap: timedelta,
    now: bool,
    expires: timedelta | None,
    target: Target,
    output: Output,
) -> None:
    """Make another token of the same name and rights, and end the old one a while later.

    It is printed as by 'create'. The old one is called NAME.old-… meanwhile.
    """
    lasts = timedelta() if now else overlap
    with access_client_of(target) as client:
        made, text = client.rotate_token(name, lasts, expires)
    show_rotated_token(output, made, text, lasts)


@command("revoke", "satellite token revoke deploy", group=token)
@NAME
def revoke(*, name: str, target: Target, output: Output) -> None:
    """End a token: within 2 seconds no router opens a stream for it. Open streams go on."""
    with access_client_of(target) as client:
        ended = client.revoke_token(name)
    show_revoked_token(output, ended)
