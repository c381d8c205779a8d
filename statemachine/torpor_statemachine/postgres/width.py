"""How many statements a pool carries out at a time: as few as do, and more while others wait."""

from __future__ import annotations

import asyncio

from torpor_statemachine import clock


class Width:
    """Places for statements: one at first, `most` at last, given in the order of who asks.

    A process at rest needs one connection, since statements that meet by chance take turns. Only a
    wait of `patience` seconds, longer than nearly all statements take, makes one place more.
    One that is given back goes, when nobody waits and none has waited so long for `calm` seconds.
    """

    def __init__(self, most: int, *, patience: float, calm: float) -> None:
        self.now = 1
        self._most = most
        self._patience = patience
        self._calm = calm
        self._free = asyncio.Semaphore(1)
        self._waiting = 0
        self._crowded_at = 0.0

    def __repr__(self) -> str:
        return f"<Width {self.now} of {self._most}>"

    async def take(self) -> None:
        """Wait for a place, which is to be given back."""
        if not self._free.locked():
            await self._free.acquire()
            return
        crowded = asyncio.get_running_loop().call_later(self._patience, self._widen)
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1
            crowded.cancel()

    def _widen(self) -> None:
        self._crowded_at = clock.now()
        if self.now < self._most:
            self.now += 1
            self._free.release()

    def give_back(self) -> None:
        """The longest waiting has it next; without any, it goes once it has been calm."""
        calm = not self._waiting and clock.now() - self._crowded_at >= self._calm
        if calm and self.now > 1:
            self.now -= 1
        else:
            self._free.release()
