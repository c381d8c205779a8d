"""What a node has found for many satellites is done for a few at a time, and for all of them."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from torpor_provisioner.errors import Capacity
from torpor_statemachine.lifecycle.satellite import Satellite
from torpor_statemachine.postgres.pool import CONNECTIONS, DatabaseAway
from torpor_statemachine.upkeep.side_by_side import AT_ONCE, side_by_side

MANY = cast("list[Satellite]", list(range(50)))


class Acts:
    """Does what it is asked; the first few wait until as many as may be have begun."""

    def __init__(self, fails: dict[Any, Exception] | None = None) -> None:
        self.begun: list[Any] = []
        self.most = 0
        self._now = 0
        self._fails = fails or {}
        self._full = asyncio.Event()

    async def __call__(self, satellite: Any) -> None:
        self.begun.append(satellite)
        self._now += 1
        self.most = max(self.most, self._now)
        if self._now == AT_ONCE:
            self._full.set()
        await self._full.wait()  # one after another it would wait for ever
        await asyncio.sleep(0)
        self._now -= 1
        if satellite in self._fails:
            raise self._fails[satellite]


async def test_a_few_at_a_time_and_each_once() -> None:
    acts = Acts()
    await asyncio.wait_for(side_by_side(MANY, acts), 60)
    assert (acts.most, sorted(acts.begun)) == (AT_ONCE, MANY)
    assert AT_ONCE < CONNECTIONS  # requests need one, too


async def test_one_that_fails_keeps_no_other_from_its_turn(
    caplog: pytest.LogCaptureFixture,
) -> None:
    acts = Acts({3: Capacity("none"), 7: ZeroDivisionError()})
    await side_by_side(MANY, acts)
    assert sorted(acts.begun) == MANY
    assert "3 is left as it is" in caplog.text
    assert "7 is left as it is" in caplog.text


async def test_a_database_that_is_away_ends_it() -> None:
    acts = Acts({5: DatabaseAway("now")})
    with pytest.raises(DatabaseAway):
        await side_by_side(MANY, acts)
    assert len(acts.begun) < len(MANY)
