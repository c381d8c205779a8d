"""LISTEN: hearing at once of what other nodes did.

The connection can die without a word, so it proves itself: a notification to itself must arrive.
When it is lost, a new one listens before everyone reads again, so that no change falls between.
Nothing depends on it but speed: whoever waits polls besides. Behind PgBouncer in transaction mode
there is none (`poll_only`).
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import UUID

import asyncpg

from torpor_statemachine import clock
from torpor_statemachine.postgres.pool import Database, DatabaseAway, told_by_code

logger = logging.getLogger(__name__)

CHANNEL = "torpor"  # as in migrations/
PROVE_EVERY = 10.0  # seconds
PROVE_WITHIN = 5.0
RECONNECT = 0.5


class PgListener:
    """Calls `heard(satellite_id, epoch)` for each transition, `missed()` after a gap."""

    def __init__(
        self,
        database: Database,
        heard: Callable[[UUID, int], None],
        missed: Callable[[], None],
    ) -> None:
        self._database = database
        self._heard = heard
        self._missed = missed
        self._proof = ""
        self._proven = asyncio.Event()
        self._lost = False

    async def listen_for_ever(self) -> None:
        while True:
            try:
                await self._listen()
            except (DatabaseAway, TimeoutError) as error:
                if not self._lost:  # told once, not at each attempt
                    logger.info("the listener's connection was lost: %s", error)
                self._lost = True
            except Exception:
                logger.exception("the listener failed")
            await asyncio.sleep(clock.jittered(RECONNECT))

    async def _listen(self) -> None:
        connection = await self._database.connect()
        lost = asyncio.Event()
        connection.add_termination_listener(lambda _: lost.set())
        try:
            with told_by_code():
                own = f"torpor_{secrets.token_hex(8)}"
                await connection.add_listener(own, self._told)
                await connection.add_listener(CHANNEL, self._told)
                self._lost = False
                self._missed()
                while not lost.is_set():
                    await self._prove(connection, own)
                    with suppress(TimeoutError):
                        async with asyncio.timeout(clock.jittered(PROVE_EVERY)):
                            await lost.wait()
        finally:
            connection.terminate()

    async def _prove(self, connection: asyncpg.Connection[Any], own: str) -> None:
        self._proof = secrets.token_hex(8)
        self._proven.clear()
        async with asyncio.timeout(PROVE_WITHIN):
            await connection.execute("select pg_notify($1, $2)", own, self._proof)
            await self._proven.wait()

    def _told(self, _connection: object, _pid: int, channel: str, payload: object) -> None:
        text = str(payload)
        if channel != CHANNEL:
            if text == self._proof:
                self._proven.set()
            return
        try:
            satellite_id, _, epoch = text.split(" ")
            heard = UUID(satellite_id), int(epoch)
        except ValueError:
            logger.warning("a notification that is none of ours: %r", text[:100])
            return
        self._heard(*heard)
