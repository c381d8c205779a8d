"""Statements that meet by chance share a connection; a crowd gets more, and for as long only."""

from __future__ import annotations

import asyncio

import pytest
from waiting import LONG, until

from torpor_statemachine.postgres import pool
from torpor_statemachine.postgres.pool import Database
from torpor_statemachine.postgres.width import Width

_PID = "select pg_backend_pid()"


async def _pids(database: Database, sql: str, number: int) -> set[int]:
    return set(await asyncio.gather(*(database.fetchval(sql) for _ in range(number))))


async def test_statements_that_meet_share_a_connection(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "PATIENCE", LONG)
    async with Database(database_url) as database:
        assert len(await _pids(database, _PID, 20)) == 1


async def test_a_query_that_waits_too_long_gets_another_connection(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "PATIENCE", 0.0)
    async with Database(database_url) as database:
        slow = "select pg_backend_pid() from pg_sleep(0.5)"
        assert 1 < len(await _pids(database, slow, 2 * pool.CONNECTIONS)) <= pool.CONNECTIONS


@pytest.mark.parametrize(("calm", "left"), [(0.0, (3, 3, 2, 1, 1)), (LONG, (3, 3, 3, 3, 3))])
async def test_a_pool_narrows_once_nothing_has_waited_for_a_while(
    calm: float, left: tuple[int, ...]
) -> None:
    """Five that take one of three places: two have to wait for others to give theirs back."""
    width = Width(3, patience=0.0, calm=calm)
    await width.take()
    others = [asyncio.create_task(width.take()) for _ in range(4)]
    await until(lambda: width.now == 3)
    for each in left:
        width.give_back()
        assert width.now == each
        await asyncio.sleep(0)  # who waits has it
    await asyncio.gather(*others)
    await width.take()


async def test_places_are_given_in_the_order_of_who_asks() -> None:
    width = Width(1, patience=0.0, calm=0.0)
    await width.take()
    had: list[int] = []

    async def have(number: int) -> None:
        await width.take()
        had.append(number)
        width.give_back()

    others = [asyncio.create_task(have(number)) for number in range(5)]
    await asyncio.sleep(0)  # all of them wait
    others[2].cancel()
    width.give_back()
    await asyncio.gather(*others, return_exceptions=True)
    assert had == [0, 1, 3, 4]
