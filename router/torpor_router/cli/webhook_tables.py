"""Webhooks and deliveries: what `torpor webhook` and `satellite webhook` both take and show."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from torpor_router.cli.output import Column, Output, shown
from torpor_router.notices.kinds import Kind

if TYPE_CHECKING:
    from torpor_router.notices.webhooks import Delivery, Webhook

    _Webhook = Webhook
    _Delivery = Delivery

NAME = click.argument("name")
URL = click.argument("url")
SLACK = click.option("--slack", is_flag=True, help="Send what Slack's incoming webhooks read.")
KINDS = click.option(
    "--kind",
    "kinds",
    multiple=True,
    type=click.Choice([kind.value for kind in Kind]),
    help="Of this kind only; repeat for several.",
)
LIMIT = click.option("--limit", type=click.IntRange(1, 1_000), default=20, show_default=True)
TEST_TAKES = 15.0  # seconds that a test waits for its delivery
TEST_LOOKS = 0.3


def show_secret(output: Output, webhook: _Webhook, secret: str, remark: str) -> None:
    """Print a webhook's secret, alone on standard output."""
    if output.as_json:
        output.json({**dataclasses.asdict(webhook), "secret": secret})
        return
    output.remark(remark)
    output.remark("Its receiver checks signatures with this secret; it is not shown again:")
    output.say(secret)


def show_webhooks(output: Output, webhooks: Sequence[_Webhook], *, add: str) -> None:
    """`add` is the command that makes one."""
    if output.as_json:
        output.json(webhooks)
        return
    output.table(
        [
            *("of", Column("webhook", wraps=True), Column("to", wraps=True)),
            *(Column("waiting", right=True), "last", Column("result", wraps=True)),
        ],
        [
            (
                *(each.org or "-", each.name, each.host),
                *(each.waiting, each.tried_at or "never", each.result),
            )
            for each in webhooks
        ],
        empty=f"There are no webhooks: {add}",
    )


def show_removed_webhook(output: Output, webhook: _Webhook) -> None:
    output.answer(webhook, f"Removed {webhook.name}.")


def show_deliveries(output: Output, deliveries: Sequence[_Delivery]) -> None:
    if output.as_json:
        output.json(deliveries)
        return
    output.table(
        [
            *("at", "kind", Column("about", wraps=True)),
            *("state", Column("tries", right=True), Column("result", wraps=True)),
        ],
        [
            (each.at, each.kind, _about(each), each.state, each.tries, each.result)
            for each in deliveries
        ],
        empty="It has been told nothing yet.",
    )


def show_tested(output: Output, delivery: _Delivery) -> None:
    """
    Raises:
        ReceiverFailed, NotDelivered: the test was not delivered.
    """
    if delivery.state != "delivered":
        from torpor_router.notices.errors import NotDelivered
        from torpor_statemachine.errors import recall

        raise recall(delivery.result) if delivery.result else NotDelivered
    output.answer(delivery, f"Delivered: {shown(delivery.result)}.")


def _about(delivery: _Delivery) -> str:
    code = delivery.failure.partition(" ")[0]
    whom = "/".join(each for each in (delivery.org, delivery.satellite) if each)
    return f"{whom} {code}".strip()
