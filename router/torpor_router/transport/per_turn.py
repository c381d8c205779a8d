"""So many a turn of the event loop: work that costs much is begun by a few at a time."""

from __future__ import annotations

import asyncio
from collections import deque


class PerTurn:
    """`most` places in each turn; who finds none waits for a later one, in the order of coming."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._loop = asyncio.get_running_loop()

    def __repr__(self) -> str:
        return f"<PerTurn {self._taken} of {self._most} taken, {len(self._waiting)} wait>"

    async def place(self) -> None:
        if not self._taken:
            self._loop.call_soon(self._next_turn)
        if self._taken < self._most:
            self._taken += 1
            return
        turn = self._loop.create_future()
        self._waiting.append(turn)
        await turn

    def _next_turn(self) -> None:
        self._taken = 0
        while self._waiting and self._taken < self._most:
            turn = self._waiting.popleft()
            if not turn.done():  # cancelled
                turn.set_result(None)
                self._taken += 1
        if self._taken:
            self._loop.call_soon(self._next_turn)
