"""What is in the way: written beside the work, the latest only, and never in its way."""

from __future__ import annotations

import asyncio

import pytest
from waiting import until

from torpor_provisioner.errors import Capacity, Throttled, TorporError
from torpor_statemachine.postgres.pool import DatabaseAway
from torpor_statemachine.work.obstacles import Obstacles


class Page:
    """What was written; each write waits for `gate`."""

    def __init__(self) -> None:
        self.written: list[str | None] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.failures: list[Exception] = []

    async def write(self, error: TorporError | None) -> None:
        await self.gate.wait()
        if self.failures:
            raise self.failures.pop(0)
        self.written.append(error.code if error else None)


@pytest.fixture
async def page() -> Page:
    return Page()


async def _quiet(obstacles: Obstacles) -> None:
    await until(lambda: obstacles._writing is None)


async def test_only_what_changes_is_written(page: Page) -> None:
    obstacles = Obstacles(page.write)
    for _ in range(3):
        obstacles.met("wake", Capacity("zone b"))
        await _quiet(obstacles)
    obstacles.passed("wake")
    await _quiet(obstacles)
    obstacles.passed("wake", "observe")
    await _quiet(obstacles)
    assert page.written == ["TPR-2202", None]


async def test_while_one_is_written_only_the_latest_waits(page: Page) -> None:
    obstacles = Obstacles(page.write)
    page.gate.clear()
    obstacles.met("wake", Capacity("zone a"))
    await asyncio.sleep(0)
    obstacles.met("wake", Capacity("zone b"))
    obstacles.met("wake", Throttled("slow down"))
    page.gate.set()
    await _quiet(obstacles)
    assert page.written == ["TPR-2202", "TPR-2203"]


async def test_another_that_passes_leaves_the_one_that_stands(page: Page) -> None:
    obstacles = Obstacles(page.write)
    obstacles.met("wake", Capacity("zone a"))
    obstacles.met("observe", Throttled("slow down"))
    await _quiet(obstacles)
    obstacles.passed("observe")
    await _quiet(obstacles)
    assert page.written == ["TPR-2203", "TPR-2202"]


@pytest.mark.parametrize("failure", [DatabaseAway("gone"), ValueError("odd")])
async def test_what_could_not_be_written_is_written_the_next_time(
    page: Page, failure: Exception
) -> None:
    obstacles = Obstacles(page.write)
    page.failures.append(failure)
    obstacles.met("wake", Capacity("zone a"))
    await _quiet(obstacles)
    obstacles.met("wake", Capacity("zone a"))
    await _quiet(obstacles)
    assert page.written == ["TPR-2202"]


async def test_a_change_of_the_satellite_ends_it_all(page: Page) -> None:
    obstacles = Obstacles(page.write)
    page.gate.clear()
    obstacles.met("wake", Capacity("zone a"))
    await asyncio.sleep(0)
    obstacles.clear()
    obstacles.met("sleep", Throttled("slow down"))
    page.gate.set()
    await _quiet(obstacles)
    assert page.written == ["TPR-2203"]
