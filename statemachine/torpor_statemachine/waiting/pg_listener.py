"""LISTEN: hearing at once of what other nodes did.

The connection can die without a word, so it proves itself: the server must answer that it listens.
Nothing is notified for that, since each notification wakes every listener of the database.
When it is lost, a new one listens before everyone reads again, so that no change falls between.
Nothing depends on it but speed: waiters poll besides. Behind PgBouncer in transaction mode
there is none (`poll_only`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import UUID

import asyncpg

from torpor_statemachine import clock
from torpor_statemachine.postgres.pool import Database, DatabaseAway, coded_errors

logger = logging.getLogger(__name__)

CHANNEL = "torpor"  # as in migrations/
PROVE_EVERY = 10.0  # seconds
PROVE_WITHIN = 5.0
RECONNECT = 0.5
LISTENS = "select $1 = any(array(select pg_listening_channels()))"


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
            with coded_errors():
                await connection.add_listener(CHANNEL, self._on_notify)
                self._lost = False
                self._missed()
                while not lost.is_set():
                    await _prove(connection)
                    with suppress(TimeoutError):
                        async with asyncio.timeout(clock.jittered(PROVE_EVERY)):
                            await lost.wait()
        finally:
            connection.terminate()

    def _on_notify(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        text = str(payload)
        try:
            satellite_id, _, epoch = text.split(" ")
            heard = UUID(satellite_id), int(epoch)
        except ValueError:
            logger.warning("a notification that is none of ours: %r", text[:100])
            return
        self._heard(*heard)


async def _prove(connection: asyncpg.Connection[Any]) -> None:
    """
    Raises:
        TimeoutError: nobody answers.
        DatabaseAway: who answers does not listen.
    """
    async with asyncio.timeout(PROVE_WITHIN):
        if not await connection.fetchval(LISTENS, CHANNEL):
            raise DatabaseAway("its session does not listen any more")
