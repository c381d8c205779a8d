"""`satellite webhook`: an org's admin says where the org is told what happens."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from torpor_router.cli.connection import Target
from torpor_router.cli.examples import with_example
from torpor_router.cli.output import Output
from torpor_router.cli.owner import command, main
from torpor_router.cli.webhook_tables import (
    KINDS,
    LIMIT,
    NAME,
    SLACK,
    TEST_LOOKS,
    TEST_TAKES,
    URL,
    show_deliveries,
    show_removed_webhook,
    show_secret,
    show_tested,
    show_webhooks,
)

if TYPE_CHECKING:
    from torpor_router.cli.webhook_client import WebhookClient


@main.group()
@with_example("satellite webhook ls")
def webhook() -> None:
    """Tell your org what happens: failed wakes, lost machines, money spent, ...

    For the org's admins. Each notice is sent at least once, signed.
    """


@contextmanager
def _client_of(target: Target) -> Iterator[WebhookClient]:
    from torpor_router.cli.webhook_client import WebhookClient

    with WebhookClient(target) as client:
        yield client


@command("add", "satellite webhook add ops https://hooks.example.com/torpor", group=webhook)
@NAME
@URL
@SLACK
@KINDS
def add(
    *, name: str, url: str, slack: bool, kinds: Sequence[str], target: Target, output: Output
) -> None:
    """Send notices to URL, and print the secret that they are signed with."""
    with _client_of(target) as client:
        made, secret = client.add(name, url, form="slack" if slack else "json", kinds=kinds)
    show_secret(output, made, secret, f"Added. Next: satellite webhook test {name}")


@command("ls", "satellite webhook ls --json", group=webhook)
def ls(*, target: Target, output: Output) -> None:
    """List webhooks, with what became of the last notice to each."""
    with _client_of(target) as client:
        found = client.all()
    show_webhooks(output, found, add="satellite webhook add NAME URL")


@command("rm", "satellite webhook rm ops", group=webhook)
@NAME
def rm(*, name: str, target: Target, output: Output) -> None:
    """Send nothing there any more; what waited for it is forgotten."""
    with _client_of(target) as client:
        removed = client.remove(name)
    show_removed_webhook(output, removed)


@command("rotate", "satellite webhook rotate ops", group=webhook)
@NAME
def rotate(*, name: str, target: Target, output: Output) -> None:
    """Print another secret. The old one signs beside it for a day."""
    with _client_of(target) as client:
        made, secret = client.rotate(name)
    show_secret(output, made, secret, "The old secret signs beside the new one for a day.")


@command("test", "satellite webhook test ops", group=webhook)
@NAME
def test(*, name: str, target: Target, output: Output) -> None:
    """Have a notice sent there now, and say how its receiver has taken it."""
    with _client_of(target) as client:
        notice_id, left = client.test(name), TEST_TAKES
        while True:
            [found] = client.deliveries(name, notice_id=notice_id)
            if found.tries or left <= 0:
                break
            time.sleep(TEST_LOOKS)
            left -= TEST_LOOKS
    show_tested(output, found)


@command("history", "satellite webhook history ops", group=webhook)
@NAME
@LIMIT
def history(*, name: str, limit: int, target: Target, output: Output) -> None:
    """Show what it was told and how that was taken, the newest first."""
    with _client_of(target) as client:
        found = client.deliveries(name, limit=limit)
    show_deliveries(output, found)
