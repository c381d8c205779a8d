"""Makes what watches budgets, and what delivers notices."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack

from torpor_router.access.housekeeping import Housekeeping
from torpor_router.control.webhook_calls import WebhookCalls
from torpor_router.notices.outbox import RESULTS, Outbox
from torpor_router.notices.sealing import Seal
from torpor_router.notices.webhooks import Webhooks
from torpor_router.policies.watch import BudgetWatch
from torpor_router.serve.config import ServeConfig
from torpor_router.usage.prices import NO_PRICES
from torpor_statemachine.postgres.pool import Database


def webhook_calls(database: Database, config: ServeConfig) -> WebhookCalls:
    """
    Raises:
        BadWebhookKey: the key cannot be used.
    """
    key = config.webhook_key
    return WebhookCalls(Webhooks(database, Seal.read(key) if key is not None else None))


async def deliver_notices(
    stack: AsyncExitStack, database: Database, config: ServeConfig, living: Callable[[], int]
) -> Mapping[str, int]:
    """Watch and deliver until the stack ends; the count of deliveries by what became of them.

    Raises:
        BadWebhookKey: the key cannot be used.
    """
    outbox = Outbox(database)
    await stack.enter_async_context(Housekeeping((outbox.prune,)))
    if config.prices is not NO_PRICES:
        await stack.enter_async_context(BudgetWatch(database, config.prices))
    if config.webhook_key is None:
        return dict.fromkeys(RESULTS, 0)
    from torpor_router.notices.deliverer import Deliverer  # an HTTP client, which few routers need
    from torpor_router.notices.sender import Sender

    seal = Seal.read(config.webhook_key)
    sender = Sender(config.reach)
    deliverer = Deliverer(outbox, seal, sender, living=living)
    await stack.enter_async_context(deliverer)
    return deliverer.results
