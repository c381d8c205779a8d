"""LISTEN where there is nobody to listen to."""

from __future__ import annotations

import asyncio
import logging

import pytest
from waiting import until

from torpor_statemachine.postgres.pool import Database, DatabaseAway
from torpor_statemachine.waiting import pg_listener as listener
from torpor_statemachine.waiting.pg_listener import PgListener


async def test_a_database_that_stays_away_is_told_once(
    unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(listener, "RECONNECT", 0.001)
    caplog.set_level(logging.INFO)
    attempts = 0

    class Counted(Database):
        async def connect(self):
            nonlocal attempts
            attempts += 1
            return await super().connect()

    away = Counted(f"postgresql://a@127.0.0.1:{unused_tcp_port}/x")
    listening = asyncio.create_task(
        PgListener(away, lambda *_: None, lambda: None).listen_for_ever()
    )
    await until(lambda: attempts >= 4)
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    assert caplog.text.count("the listener's connection was lost") == 1


async def test_a_session_that_does_not_listen_proves_nothing(database: Database) -> None:
    """As behind a pooler that has given it to somebody else."""
    connection = await database.connect()
    try:
        await connection.add_listener(listener.CHANNEL, lambda *_: None)
        await listener._prove(connection)
        await connection.execute("unlisten *")
        with pytest.raises(DatabaseAway):
            await listener._prove(connection)
    finally:
        await connection.close()
