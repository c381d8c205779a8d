"""Delivers what is due, a few at a time, on every node.

It is in nobody's way: one statement at a time on the node's database, and `SLOTS` deliveries, each
of which ends within the sender's time.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import Self

from torpor_provisioner.errors import TorporError
from torpor_router.notices import signing
from torpor_router.notices.errors import NotDelivered
from torpor_router.notices.message import body
from torpor_router.notices.outbox import RESULTS, Due, Outbox
from torpor_router.notices.sealing import Seal
from torpor_router.notices.sender import Sender
from torpor_statemachine import clock
from torpor_statemachine.postgres.pool import DatabaseAway
from torpor_statemachine.upkeep.pace import pace

logger = logging.getLogger(__name__)

SLOTS = 4
POLL = 2.0  # seconds
_OURS = f"{NotDelivered.code} the router failed, and its log says why"


class Deliverer:
    """Works inside its context. `results` counts deliveries by what became of them."""

    def __init__(
        self,
        outbox: Outbox,
        seal: Seal,
        sender: Sender,
        *,
        living: Callable[[], int],
        poll: float = POLL,
        slots: int = SLOTS,
    ) -> None:
        self._outbox = outbox
        self._seal = seal
        self._sender = sender
        self._living = living
        self._poll = poll
        self._slots = slots
        self._one_at_a_time = asyncio.Lock()
        self._sending: set[asyncio.Task[None]] = set()
        self._over = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.results: Counter[str] = Counter(dict.fromkeys(RESULTS, 0))

    def __repr__(self) -> str:
        return f"<Deliverer of {len(self._sending)} notices now>"

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._deliver_for_ever(), name="notices")
        return self

    async def __aexit__(self, *_: object) -> None:
        tasks = [*self._sending, *([self._task] if self._task is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _deliver_for_ever(self) -> None:
        while True:
            self._over.clear()
            try:
                await self._begin()
            except DatabaseAway as error:
                logger.debug("notices wait: %s", error)
            except Exception:
                logger.exception("notices could not be looked for")
            await self._until_next()

    async def _begin(self) -> None:
        while len(self._sending) < self._slots:
            async with self._one_at_a_time:
                due = await self._outbox.claim()
            if due is None:
                return
            task = asyncio.create_task(self._deliver(due), name=f"notice to {due.name}")
            self._sending.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._sending.discard(task)
        self._over.set()

    async def _until_next(self) -> None:
        """Its webhook may have more when one is over; else others are looked for."""
        try:
            async with asyncio.timeout(clock.jittered(pace(self._poll, self._living()))):
                await self._over.wait()
        except TimeoutError:
            return

    async def _deliver(self, due: Due) -> None:
        try:
            try:
                result, delivered = await self._send(due), True
            except TorporError as error:
                result, delivered = f"{error.code} {error.detail}".rstrip(), False
            except Exception:
                logger.exception("a notice to webhook %s was not delivered", due.name)
                result, delivered = _OURS, False
            async with self._one_at_a_time:
                state = await self._outbox.mark(due, result, delivered=delivered)
        except DatabaseAway as error:
            logger.info("a notice to webhook %s is sent again: %s", due.name, error)
        except Exception:
            logger.exception("a notice to webhook %s was not marked", due.name)
        else:
            self.results["failed" if state == "waiting" else state or "delivered"] += 1
            if not delivered:
                logger.info("webhook %s did not take notice %s: %s", *_logged(due, result))

    async def _send(self, due: Due) -> str:
        target = self._seal.open(due.webhook_id, due.sealed)
        now, octets = time.time(), body(due.notice, due.format)
        signed = signing.headers(str(due.notice.id), int(now), octets, target.secrets(now))
        org = "" if due.operators else due.notice.org
        return await self._sender.send(target.url, octets, signed, org=org, operators=due.operators)


def _logged(due: Due, result: str) -> tuple[str, str, str]:
    return due.name, str(due.notice.id), result
