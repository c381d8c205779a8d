"""Work that costs much is begun by a few at a time, in the order of coming."""

from __future__ import annotations

import asyncio

from torpor_router.transport.per_turn import PerTurn


async def test_a_crowd_takes_turns_in_its_order() -> None:
    places, begun = PerTurn(3), list[int]()

    async def work(number: int) -> None:
        await places.place()
        begun.append(number)

    tasks = [asyncio.create_task(work(n)) for n in range(10)]
    most = before = 0
    while len(begun) < len(tasks):
        await asyncio.sleep(0)
        most, before = max(most, len(begun) - before), len(begun)
    assert begun == list(range(10))
    assert most == 3


async def test_a_task_that_gives_up_takes_no_place() -> None:
    places = PerTurn(1)
    await places.place()
    waiting = [asyncio.create_task(places.place()) for _ in range(5)]
    await asyncio.sleep(0)
    for each in waiting[:4]:
        each.cancel()
    await waiting[4]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert repr(places) == "<PerTurn 0 of 1 taken, 0 wait>"
