"""The last answers of workers to calls that only look: kept now and then, found when they sleep."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeVar
from uuid import UUID

from torpor_provisioner.errors import TorporError
from torpor_router.dialects.requests import contained_in
from torpor_statemachine.store.answers import LARGEST, Answer

log = logging.getLogger(__name__)

EVERY = 60.0  # seconds between two answers that are kept of a satellite and method
AGAIN = 1.0  # seconds for which one that was found is not looked for again
WRITES = 4  # under way at a time; what comes meanwhile is kept another time
_KNOWN = 10_000  # satellites and methods
_FOUND = 64  # answers in memory

_Kept = TypeVar("_Kept")


class Store(Protocol):
    """Implemented by `torpor_statemachine.store.answers.Answers`."""

    async def keep(self, satellite_id: UUID, epoch: int, method: str, answer: bytes) -> None: ...

    async def last(self, satellite_id: UUID, method: str) -> Answer | None: ...


class _Look(NamedTuple):
    satellite_id: UUID
    method: str


class LastAnswers:
    """Used on one loop, until `aclose`."""

    def __init__(self, store: Store, clock: Callable[[], float] | None = None) -> None:
        self._store = store
        self._clock = clock or asyncio.get_running_loop().time
        self._kept: OrderedDict[_Look, float] = OrderedDict()  # when
        self._found: OrderedDict[_Look, tuple[float, Answer | None]] = OrderedDict()
        self._writes: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<LastAnswers {len(self._kept)} kept lately, {len(self._writes)} being written>"

    def wanted(self, satellite_id: UUID, method: str) -> bool:
        """Whether the worker's answer is to be kept, should it give one now."""
        at = self._kept.get(_Look(satellite_id, method))
        return at is None or self._clock() - at >= EVERY

    def keep(self, satellite_id: UUID, epoch: int, method: str, answer: bytes) -> None:
        """The worker gave this answer under `epoch`. Returns at once."""
        look = _Look(satellite_id, method)
        if len(answer) > LARGEST or len(self._writes) >= WRITES or not self.wanted(*look):
            return
        _remember(self._kept, look, self._clock(), most=_KNOWN)
        task = asyncio.create_task(self._write(look, epoch, answer), name=f"keep {method}")
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)

    async def _write(self, look: _Look, epoch: int, answer: bytes) -> None:
        try:
            await self._store.keep(look.satellite_id, epoch, look.method, answer)
        except TorporError as error:
            self._kept.pop(look, None)
            log.info("the answer to %s was not kept: %s", look.method, error)
        else:
            self._found.pop(look, None)

    async def find(self, satellite_id: UUID, method: str) -> Answer | None:
        """What its worker last answered, if the machine is still made of the same things.

        Raises:
            DatabaseAway: nobody can tell.
        """
        look = _Look(satellite_id, method)
        found = self._found.get(look)
        if found is not None and self._clock() - found[0] < AGAIN:
            return found[1]
        answer = await self._store.last(satellite_id, method) or await self._contained(look)
        _remember(self._found, look, (self._clock(), answer), most=_FOUND)
        return answer

    async def _contained(self, look: _Look) -> Answer | None:
        """What its worker said of this when it answered another look."""
        if (source := contained_in(look.method.encode())) is None:
            return None
        method, read = source
        whole = await self.find(look.satellite_id, method.decode())
        octets = read(whole.octets) if whole is not None else None
        return Answer(octets, whole.at) if whole is not None and octets is not None else None

    async def aclose(self) -> None:
        """Give up what is being written."""
        for task in self._writes:
            task.cancel()
        await asyncio.gather(*self._writes, return_exceptions=True)


def _remember(table: OrderedDict[_Look, _Kept], key: _Look, value: _Kept, *, most: int) -> None:
    table[key] = value
    table.move_to_end(key)
    if len(table) > most:
        table.popitem(last=False)
