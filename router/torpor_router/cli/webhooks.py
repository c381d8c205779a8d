"""`torpor webhook`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from torpor_router.cli.acting import note
from torpor_router.cli.output import Output, with_output
from torpor_router.cli.storage import Storage, with_storage
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
    from torpor_router.notices.sealing import Seal
    from torpor_router.notices.webhooks import Delivery, Webhook
    from torpor_statemachine.postgres.pool import Database

_Command = TypeVar("_Command", bound=Any)
_ORG = click.option("--org", default="", help="This org's; else the platform team's own.")


def _with_key(command: _Command) -> _Command:
    option = click.option(
        "--webhook-key",
        type=click.Path(dir_okay=False, path_type=Path),
        envvar="TORPOR_WEBHOOK_KEY",
        help="As 'torpor serve' is given it.",
    )
    made: _Command = option(command)
    return made


@click.group()
def webhook() -> None:
    """Tell people what happens: failed wakes, lost machines, money spent, ...

    Each notice is sent at least once, signed, to the platform team's webhooks and its org's own.
    """


@webhook.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@with_output
def key(file: Path, output: Output) -> None:
    """Make the key that addresses and secrets of webhooks are kept by, in FILE."""
    from torpor_router.notices.sealing import keep_new_key

    keep_new_key(file)
    output.answer({"file": str(file)}, f"Made {file}. Next: torpor serve --webhook-key {file} …")


@webhook.command()
@NAME
@URL
@_ORG
@SLACK
@KINDS
@_with_key
@with_storage
@with_output
def add(
    *,
    name: str,
    url: str,
    org: str,
    slack: bool,
    kinds: Sequence[str],
    webhook_key: Path | None,
    output: Output,
    storage: Storage,
) -> None:
    """Send notices to URL, and print the secret that they are signed with."""
    seal = _seal(webhook_key)
    form = "slack" if slack else "json"

    async def work(database: Database) -> tuple[Webhook, str]:
        from torpor_router.notices.webhooks import Webhooks

        made, secret = await Webhooks(database, seal).add(org, name, url, form=form, kinds=kinds)
        await note(database, "webhook add", org, name, after={"host": made.host, "format": form})
        return made, secret

    made, secret = storage.run(work)
    show_secret(output, made, secret, f"Added. Next: torpor webhook test {_named(org, name)}")


@webhook.command()
@click.option("--org", help="Of this org only.")
@with_storage
@with_output
def ls(*, org: str | None, output: Output, storage: Storage) -> None:
    """List webhooks, with what became of the last notice to each."""

    async def work(database: Database) -> list[Webhook]:
        from torpor_router.notices.webhooks import Webhooks

        return await Webhooks(database, None).all(org)

    show_webhooks(output, storage.run(work), add="torpor webhook add NAME URL")


@webhook.command()
@NAME
@_ORG
@with_storage
@with_output
def rm(*, name: str, org: str, output: Output, storage: Storage) -> None:
    """Send nothing there any more; what waited for it is forgotten."""

    async def work(database: Database) -> Webhook:
        from torpor_router.notices.webhooks import Webhooks

        removed = await Webhooks(database, None).remove(org, name)
        await note(database, "webhook rm", org, name, before={"host": removed.host})
        return removed

    show_removed_webhook(output, storage.run(work))


@webhook.command()
@NAME
@_ORG
@_with_key
@with_storage
@with_output
def rotate(
    *, name: str, org: str, webhook_key: Path | None, output: Output, storage: Storage
) -> None:
    """Print another secret. The old one signs beside it for a day."""
    seal = _seal(webhook_key)

    async def work(database: Database) -> tuple[Webhook, str]:
        from torpor_router.notices.webhooks import Webhooks

        rotated = await Webhooks(database, seal).rotate(org, name)
        await note(database, "webhook rotate", org, name)
        return rotated

    made, secret = storage.run(work)
    show_secret(output, made, secret, "The old secret signs beside the new one for a day.")


@webhook.command()
@NAME
@_ORG
@with_storage
@with_output
def test(*, name: str, org: str, output: Output, storage: Storage) -> None:
    """Have a router send a notice there now, and say how its receiver has taken it."""

    async def work(database: Database) -> Delivery:
        from torpor_router.notices.webhooks import Webhooks

        webhooks = Webhooks(database, None)
        notice_id = await webhooks.test(org, name)
        left = TEST_TAKES
        while True:
            [found] = await webhooks.deliveries(org, name, notice_id=notice_id)
            if found.tries or left <= 0:
                return found
            await asyncio.sleep(TEST_LOOKS)
            left -= TEST_LOOKS

    show_tested(output, storage.run(work))


@webhook.command()
@NAME
@_ORG
@LIMIT
@with_storage
@with_output
def history(*, name: str, org: str, limit: int, output: Output, storage: Storage) -> None:
    """Show what it was told and how that was taken, the newest first."""

    async def work(database: Database) -> list[Delivery]:
        from torpor_router.notices.webhooks import Webhooks

        return await Webhooks(database, None).deliveries(org, name, limit=limit)

    show_deliveries(output, storage.run(work))


def _seal(key: Path | None) -> Seal | None:
    from torpor_router.notices.sealing import Seal

    return Seal.read(key) if key is not None else None


def _named(org: str, name: str) -> str:
    return f"{name} --org {org}" if org else name
