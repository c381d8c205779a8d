"""`satellite exchange`: a CI job's identity token for a token of Torpor."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit
from urllib.request import Request, urlopen

import click

from torpor_provisioner.errors import Status
from torpor_router.cli.connect.jobs import AUDIENCE
from torpor_router.cli.connection import Command, target_of, with_given
from torpor_router.cli.examples import with_example
from torpor_router.cli.output import Output, with_output
from torpor_router.durations import duration
from torpor_router.errors import RouterError

_URL, _SECRET = "ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"
_WITHIN = 10.0  # seconds
_LARGEST = 64 * 1024  # octets


class NoIdentityToken(RouterError):
    code = "TPR-1167"
    status = Status.UNAVAILABLE
    cause = "GitHub gave the job no identity token"
    remedy = "Give the job 'permissions: id-token: write', and run it again"


@click.command(cls=Command)
@click.option(
    "--audience",
    default=AUDIENCE,
    show_default=True,
    help="What GitHub is asked for; the trust rule names it.",
)
@with_given
@with_output
@with_example(
    """
    TORPOR_TOKEN=$(satellite exchange)
    satellite exchange --token-file id-token.jwt --org acme --json
    """
)
@click.pass_context
def exchange(
    context: click.Context, *, audience: str, given: dict[str, Any], output: Output
) -> None:
    """Get a token for the identity token of a CI job, where the org trusts its issuer.

    For jobs that last longer than their identity token. That is what --token-file or TORPOR_TOKEN
    holds; on GitHub Actions, without these, it asks GitHub for one. The new token is printed
    alone on standard output.
    """
    from torpor_router.cli.access_client import AccessClient

    if not (given["token"] or given["token_file"]) and os.environ.get(_URL):
        given["token"] = _asked_of_github(os.environ[_URL], os.environ.get(_SECRET, ""), audience)
    target = target_of(context, given)
    with AccessClient(target) as client:
        reply = client.exchange(target.token, target.org)
    if output.as_json:
        output.json(reply)
        return
    lasts = duration(timedelta(seconds=reply.expires_in))
    output.remark(f"It lasts for {lasts}, and may do what {reply.role} of {reply.org} may.")
    output.say(reply.access_token)


def _asked_of_github(url: str, secret: str, audience: str) -> str:
    """
    Raises:
        NoIdentityToken: with why.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("https", "http"):
        raise NoIdentityToken(f"{_URL} is no address of the web")
    whole = f"{url}{'&' if parts.query else '?'}audience={quote(audience, safe='')}"
    request = Request(whole, headers={"Authorization": f"Bearer {secret}"})  # noqa: S310 - as above
    try:
        with urlopen(request, timeout=_WITHIN) as answer:  # noqa: S310
            return str(json.loads(answer.read(_LARGEST))["value"])
    except HTTPError as error:
        with error:
            raise NoIdentityToken(f"{parts.hostname}: HTTP {error.code}") from error
    except (OSError, HTTPException, ValueError, KeyError, TypeError) as error:
        raise NoIdentityToken(f"{parts.hostname}: {type(error).__name__} {error}"[:200]) from error
