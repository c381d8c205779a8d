"""Answers are kept now and then, and found without asking again at once."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from torpor_router.dialects.last_answers import AGAIN, EVERY, WRITES, LastAnswers
from torpor_statemachine.postgres.pool import DatabaseAway

METHOD = "/a.B/C"


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def kept(shelf, clock):
    made = LastAnswers(shelf, clock)
    yield made
    await made.aclose()


async def test_an_answer_is_stored_now_and_then(kept, shelf, clock, until):
    one = uuid4()
    for _ in range(5):
        kept.keep(one, 1, METHOD, b"a")
    await until(lambda: not kept._writes)
    assert len(shelf.writes) == 1
    assert not kept.wanted(one, METHOD)
    assert kept.wanted(one, "/a.B/D")
    assert kept.wanted(uuid4(), METHOD)
    clock.now += EVERY
    kept.keep(one, 1, METHOD, b"b")
    await until(lambda: len(shelf.writes) == 2)
    assert (await kept.find(one, METHOD)).octets == b"b"


async def test_a_missing_answer_is_looked_for_now_and_then(kept, shelf, clock):
    one = uuid4()
    assert await kept.find(one, METHOD) is None
    assert await kept.find(one, METHOD) is None
    assert shelf.reads == 1
    clock.now += AGAIN
    assert await kept.find(one, METHOD) is None
    assert shelf.reads == 2


async def test_what_was_not_written_is_wanted_again(kept, shelf, until):
    one = uuid4()
    shelf.away = True
    kept.keep(one, 1, METHOD, b"a")
    await until(lambda: not kept._writes)
    assert kept.wanted(one, METHOD)
    with pytest.raises(DatabaseAway):
        await kept.find(one, METHOD)


async def test_a_slow_database_is_not_given_more_and_more(kept, shelf, monkeypatch):
    async def never(*_):
        await asyncio.Event().wait()

    monkeypatch.setattr(shelf, "keep", never)
    for _ in range(3 * WRITES):
        kept.keep(uuid4(), 1, METHOD, b"a")
    assert len(kept._writes) == WRITES


async def test_memory_is_bounded(kept, monkeypatch):
    monkeypatch.setattr("torpor_router.dialects.last_answers._FOUND", 8)
    monkeypatch.setattr("torpor_router.dialects.last_answers._KNOWN", 8)
    for _ in range(20):
        kept.keep(uuid4(), 1, METHOD, b"a")
        await kept.find(uuid4(), METHOD)
        await asyncio.sleep(0)
    assert len(kept._kept) <= 8
    assert len(kept._found) <= 8
