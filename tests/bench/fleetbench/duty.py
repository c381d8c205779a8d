"""What a fleet at rest asks of its Postgres, a duty at a time."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from fleetbench.meter import Cost, Meter

AT_ONCE = 4
ENOUGH = 0.25  # seconds of Postgres' CPU


@dataclass(frozen=True)
class Duty:
    """`call(n)` is what process `n` of the fleet does, `rate` times a second in the whole fleet."""

    name: str
    rate: float
    call: Callable[[int], Awaitable[object]]


@dataclass(frozen=True)
class Measured:
    """`each`: a call. `cost`: all of the fleet's in a second."""

    duty: Duty
    each: Cost

    @property
    def cost(self) -> Cost:
        return self.each * self.duty.rate


async def measure(
    duties: Sequence[Duty], meter: Meter, processes: int, most: int
) -> list[Measured]:
    """Each duty by itself, `most` calls of it or as many as tell enough."""
    return [Measured(each, await _cost(each, meter, processes, most)) for each in duties]


async def _cost(duty: Duty, meter: Meter, processes: int, most: int) -> Cost:
    calls = itertools.count()

    async def some(number: int) -> None:
        for _ in range(number):
            await duty.call(next(calls) % processes)

    await some(AT_ONCE)  # its statements are planned, its pages in memory
    before, spent = await meter.read(), Cost()
    done = 0
    while done < most:
        batch = min(5, most)
        await asyncio.gather(*(some(batch) for _ in range(AT_ONCE)))
        done += batch * AT_ONCE
        spent = await meter.read() - before
        if spent.cpu > ENOUGH and done >= processes:
            break
        if spent.cpu > 4 * ENOUGH:
            break
    return spent * (1 / done)
