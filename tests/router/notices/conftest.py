"""Webhooks in a database, receivers, and nodes that deliver."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import pytest
from cryptography.fernet import Fernet
from noticekit.receiver import Receiver

from torpor_router.notices.deliverer import Deliverer
from torpor_router.notices.outbox import CLAIMED, Outbox
from torpor_router.notices.reach import Reach, networks
from torpor_router.notices.sealing import Seal
from torpor_router.notices.sender import Sender
from torpor_router.notices.webhooks import Webhooks
from torpor_statemachine.postgres.pool import Database

LOOPBACK = Reach(networks(("127.0.0.0/8",)))
StartNode = Callable[..., Awaitable[Deliverer]]


@pytest.fixture
def seal() -> Seal:
    return Seal([Fernet.generate_key()])


@pytest.fixture
async def webhooks(database: Database, seal: Seal) -> Webhooks:
    await database.execute("insert into orgs (name) values ('acme'), ('globex')")
    return Webhooks(database, seal)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver().running() as made:
        yield made


@pytest.fixture
async def other() -> AsyncIterator[Receiver]:
    async with Receiver().running() as made:
        yield made


@pytest.fixture
async def node(database: Database, seal: Seal) -> AsyncIterator[StartNode]:
    """Start what delivers on a node."""
    async with AsyncExitStack() as stack:

        async def start(
            on: Database = database,
            *,
            claimed: timedelta = CLAIMED,
            within: float = 60.0,
            slots: int = 4,
            kind: type[Outbox] = Outbox,
            keys: Seal = seal,
            reach: Reach = LOOPBACK,
            **options: Any,
        ) -> Deliverer:
            sender = Sender(reach, within=within, **options)
            outbox = kind(on, claimed=claimed)
            deliverer = Deliverer(outbox, keys, sender, living=lambda: 1, poll=0.05, slots=slots)
            return await stack.enter_async_context(deliverer)

        yield start


@pytest.fixture
def tell(database: Database) -> Callable[..., Awaitable[str]]:
    """Write a notice; its id."""

    async def write(text: str = "TPR-2205 it is gone", org: str | None = "acme") -> str:
        notice_id = await database.fetchval(
            "select add_notice('machine.lost', (select id from orgs where name = $1), 'one', $2,"
            " $2, '1 hour')",
            *(org, text),
        )
        return str(notice_id)

    return write


@pytest.fixture
def hurry(database: Database) -> Callable[[], Awaitable[None]]:
    """Let nothing wait for its next try any more."""

    async def now() -> None:
        await database.execute("update webhooks set next_at = now()")
        await database.execute("update notice_deliveries set next_at = now()")

    return now
