"""From the moment a machine was told to start: does its worker answer, or will it never?"""

from __future__ import annotations

import asyncio

from torpor_provisioner.contract import Address, MachineState, Observed
from torpor_provisioner.errors import TorporError
from torpor_statemachine import clock
from torpor_statemachine.work.claimed_work import Work


class Arrival:
    """Asks the worker and the cloud side by side. `ended` is why there will be no answer: the
    machine is asleep again, or gone."""

    def __init__(self, work: Work, accepted_at: float | None) -> None:
        self.address: Address | None = work.satellite.address
        self.ended: Observed | None = None
        self._work = work
        self._accepted_at = accepted_at
        self._located = asyncio.Event()
        if self.address is not None:
            self._located.set()

    async def outcome(self) -> Address | Observed | None:
        """The address of a worker that answers; or the machine, asleep or gone; None: no time left.

        The private address survives sleep, so the worker is asked at once, before the cloud itself
        knows that the machine runs.
        """
        asking = asyncio.create_task(self._ask())
        looking = asyncio.create_task(self._look())
        try:
            await asyncio.wait(
                (asking, looking),
                timeout=max(0.0, self._work.left()),
                return_when=asyncio.FIRST_COMPLETED,
            )
            for task in (asking, looking):
                if task.done():
                    return task.result()
            return None
        finally:
            asking.cancel()
            looking.cancel()
            await asyncio.gather(asking, looking, return_exceptions=True)

    async def _ask(self) -> Address:
        await self._located.wait()
        while True:
            address = self.address
            assert address is not None
            if await self._work.answers(address):
                return address
            await asyncio.sleep(self._work.config.probe)

    async def _look(self) -> Observed:
        pause = self._work.config.first_look
        while True:
            seen = await self._seen()
            if seen is not None and self._is_over(seen):
                return seen
            if seen is not None and seen.address is not None:
                self.address = seen.address
                self._located.set()
            await asyncio.sleep(clock.jittered(pause))
            pause = min(pause * 1.5, self._work.config.longest_look)

    async def _seen(self) -> Observed | None:
        try:
            return await self._work.look()
        except TorporError:
            return None  # told to the observer; the worker may answer all the same

    def _is_over(self, seen: Observed) -> bool:
        if seen.state is MachineState.GONE:
            return True
        if seen.state is not MachineState.ASLEEP:
            return False
        # What the cloud has accepted it may show a moment later
        accepted = self._accepted_at
        return accepted is None or clock.now() - accepted > self._work.config.patience
