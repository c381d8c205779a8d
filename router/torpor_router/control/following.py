"""Following a satellite until it is where its caller wants it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import timedelta
from typing import TypeVar

from torpor_provisioner.contract import SleepKind
from torpor_router.control.errors import WokenMeanwhile
from torpor_router.control.messages import duration_message, satellite_message
from torpor_router.control.progress_text import Goal, waiting_for
from torpor_router.control.v1 import torpor_pb2 as pb
from torpor_router.errors import Draining
from torpor_statemachine.errors import SatelliteEnding, SatelliteFailed, recall
from torpor_statemachine.lifecycle.satellite import Satellite
from torpor_statemachine.lifecycle.states import State

_T = TypeVar("_T")

BEAT = 2.0  # seconds without news after which a caller is told that there is none


class Following:
    """One call's view of one satellite: turns what is seen of it into `Progress`."""

    def __init__(self, goal: Goal, seen: Satellite) -> None:
        self._goal = goal
        self._began = self._since = time.monotonic()
        self._seen = seen
        self._slept: SleepKind | None = seen.sleep_kind

    def progress(self, satellite: Satellite) -> pb.Progress:
        now = time.monotonic()
        if satellite.state is not self._seen.state:
            self._since = now
        self._seen = satellite
        self._slept = satellite.sleep_kind or self._slept
        return pb.Progress(
            satellite=satellite_message(satellite),
            elapsed=duration_message(timedelta(seconds=now - self._began)),
            waiting_for=waiting_for(satellite, self._goal, slept=self._slept),
            waited=duration_message(timedelta(seconds=now - self._since)),
        )


def has_woken(before: Satellite, now: Satellite) -> bool:
    """Whether a wake, asked for when the satellite was as `before`, is over.

    Raises:
        TorporError: why it will not come to be.
    """
    match now.state:
        case State.RUNNING:
            return True
        case State.ASLEEP | State.SLEEPING if now.failure and _is_news(before, now):
            raise recall(now.failure)
    _check_alive(now)
    return False


def has_slept(now: Satellite) -> bool:
    """Whether a sleep, claimed before the satellite was seen as `now`, is over.

    Raises:
        TorporError: why it will not come to be.
    """
    match now.state:
        case State.ASLEEP:
            return True
        case State.RUNNING | State.WAKING:
            raise recall(now.failure) if now.failure else WokenMeanwhile(now.full_name)
    _check_alive(now)
    return False


def _is_news(before: Satellite, now: Satellite) -> bool:
    # A failure stays written until the next wake: only one of a later claim is this wake's own.
    return (before.epoch, before.failure) != (now.epoch, now.failure)


def _check_alive(now: Satellite) -> None:
    if now.state is State.FAILED:
        cause = f": {recall(now.failure)}" if now.failure else ""
        raise SatelliteFailed(f"{now.full_name}{cause}")
    if now.state in (State.TERMINATING, State.TERMINATED):
        raise SatelliteEnding(now.full_name)


async def with_beats(
    updates: AsyncIterator[_T], stop: asyncio.Event, every: float = BEAT
) -> AsyncGenerator[_T | None, None]:
    """What `updates` gives, and None each time that it gave nothing for `every` seconds.

    Raises:
        Draining: `stop` was set.
    """
    coming = asyncio.ensure_future(anext(updates))
    stopping = asyncio.create_task(stop.wait())
    try:
        while True:
            await asyncio.wait(
                {coming, stopping}, timeout=every, return_when=asyncio.FIRST_COMPLETED
            )
            if stopping.done():
                raise Draining
            if not coming.done():
                yield None
                continue
            try:
                update = coming.result()
            except StopAsyncIteration:
                return
            coming = asyncio.ensure_future(anext(updates))
            yield update
    finally:
        for task in (coming, stopping):
            task.cancel()
        await asyncio.gather(coming, stopping, return_exceptions=True)
        if isinstance(updates, AsyncGenerator):
            await updates.aclose()
