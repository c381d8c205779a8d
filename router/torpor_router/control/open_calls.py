"""How many calls are under way, for who waits until none is."""

from __future__ import annotations

import asyncio
from types import TracebackType


class OpenCalls:
    """Counts a call for as long as it is entered. `len` tells how many are."""

    def __init__(self) -> None:
        self._count = 0
        self._none = asyncio.Event()
        self._none.set()

    def __repr__(self) -> str:
        return f"<OpenCalls {self._count}>"

    def __len__(self) -> int:
        return self._count

    def __enter__(self) -> None:
        self._count += 1
        self._none.clear()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._count -= 1
        if not self._count:
            self._none.set()

    async def over(self) -> None:
        """Wait until no call is under way."""
        await self._none.wait()
