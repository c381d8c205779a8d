"""When a wake or a sleep is over, and what a person is told until then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace

import pytest
from controlkit.fakes import asleep, satellite

from torpor_provisioner.contract import SleepKind
from torpor_provisioner.errors import Capacity, TorporError
from torpor_router.control.detached import DetachedTasks
from torpor_router.control.following import has_slept, has_woken, with_beats
from torpor_router.control.progress_text import Goal, waiting_for
from torpor_router.errors import Draining
from torpor_statemachine.lifecycle.states import SleepMode, State

FAILURE = "TPR-2202 none left in zone b"


@pytest.mark.parametrize(
    ("state", "goal", "told"),
    [
        (State.RUNNING, Goal.AWAKE, ""),
        (State.ASLEEP, Goal.ASLEEP, ""),
        (State.ASLEEP, Goal.NONE, ""),
        (State.FAILED, Goal.NONE, ""),
        (State.TERMINATED, Goal.NONE, ""),
        (State.ASLEEP, Goal.AWAKE, "asleep; about to be started"),
        (State.SLEEPING, Goal.AWAKE, "still falling asleep; wakes as soon as it can"),
        (State.SLEEPING, Goal.ASLEEP, "the machine is falling asleep"),
        (State.LAUNCHING, Goal.AWAKE, "a new machine is being launched"),
        (State.UPDATING, Goal.AWAKE, "the machine is being updated"),
        (State.TERMINATING, Goal.NONE, "the machine is being ended"),
    ],
)
def test_what_is_waited_for(state: State, goal: Goal, told: str) -> None:
    assert waiting_for(satellite(state=state), goal, slept=None) == told


@pytest.mark.parametrize(
    ("slept", "told"),
    [
        (SleepKind.HIBERNATED, "the machine is starting (resumed memory)"),
        (SleepKind.STOPPED, "the machine is starting (from its disk)"),
        (None, "the machine is starting"),
    ],
)
def test_how_it_wakes_is_told_as_it_slept(slept: SleepKind | None, told: str) -> None:
    waking = satellite(state=State.WAKING)
    assert waiting_for(waking, Goal.AWAKE, slept=slept) == told


def test_what_is_in_the_way_is_told_too() -> None:
    waking = satellite(state=State.WAKING, obstacle=FAILURE)
    line = waiting_for(waking, Goal.AWAKE, slept=None)
    assert line.startswith("the machine is starting: TPR-2202 ")
    assert line.endswith(": none left in zone b")


def test_a_wake_that_must_wait_for_its_turn_says_so() -> None:
    line = waiting_for(asleep(failure=FAILURE), Goal.AWAKE, slept=None)
    assert line == "its last wake failed; the next try is due soon"


def test_a_failed_satellite_is_told_with_its_cause_and_its_remedy() -> None:
    failed = satellite(state=State.FAILED, failure="TPR-2205 i-1")
    with pytest.raises(TorporError) as told:
        has_woken(failed, failed)
    assert "TPR-2205 The satellite's machine no longer exists: i-1" in told.value.detail
    assert "satellite repair" in told.value.remedy


def test_how_it_falls_asleep_is_told_as_it_was_asked() -> None:
    sleeping = satellite(state=State.SLEEPING, sleep_mode=SleepMode.HIBERNATE)
    assert waiting_for(sleeping, Goal.NONE, slept=None) == ("the machine is hibernating")


def test_a_wake_is_over_when_it_runs() -> None:
    before = asleep()
    assert not has_woken(before, before)
    assert not has_woken(before, replace(before, state=State.WAKING, epoch=8))
    assert has_woken(before, replace(before, state=State.RUNNING, epoch=8))


@pytest.mark.parametrize("state", [State.ASLEEP, State.SLEEPING])
def test_a_wake_fails_with_its_own_failure_only(state: State) -> None:
    before = asleep(failure="TPR-2202 yesterday's")
    assert not has_woken(before, before), "that is what an earlier wake left"
    with pytest.raises(Capacity) as failed:
        has_woken(before, replace(before, state=state, epoch=8, failure=FAILURE))
    assert failed.value.detail == "none left in zone b"
    with pytest.raises(Capacity):
        has_woken(before, replace(before, state=state, epoch=8))


@pytest.mark.parametrize("over", [has_slept, lambda now: has_woken(asleep(), now)])
@pytest.mark.parametrize(
    ("state", "failure", "code"),
    [
        (State.FAILED, "TPR-2205 i-1", "TPR-2007"),
        (State.FAILED, None, "TPR-2007"),
        (State.TERMINATING, None, "TPR-2008"),
        (State.TERMINATED, None, "TPR-2008"),
    ],
)
def test_what_has_failed_or_ended_is_not_waited_for(over, state, failure, code) -> None:
    with pytest.raises(TorporError) as failed:
        over(satellite(state=state, failure=failure))
    assert failed.value.code == code


def test_a_sleep_is_over_when_it_sleeps_or_is_awake_again() -> None:
    assert not has_slept(satellite(state=State.SLEEPING))
    assert has_slept(asleep())
    for state in (State.RUNNING, State.WAKING):
        with pytest.raises(TorporError) as failed:
            has_slept(satellite(state=state))
        assert failed.value.code == "TPR-2101"
    with pytest.raises(TorporError) as failed:
        has_slept(satellite(state=State.RUNNING, failure="TPR-2014 "))
    assert failed.value.code == "TPR-2014"


class Updates:
    """An async iterator that gives what it is told to, and notes that it was closed."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[int] = asyncio.Queue()
        self.closed = False

    async def given(self) -> AsyncIterator[int]:
        try:
            while (given := await self.queue.get()) >= 0:
                yield given
        finally:
            self.closed = True


async def test_beats_fill_the_silence_and_lose_no_update() -> None:
    updates = Updates()
    stop = asyncio.Event()
    seen = []
    async with aclosing(with_beats(updates.given(), stop, 0.01)) as beats:
        async for each in beats:
            seen.append(each)
            if len(seen) == 3:
                updates.queue.put_nowait(1)
                updates.queue.put_nowait(2)
            if each == 2:
                updates.queue.put_nowait(-1)  # the end
    assert seen[:3] == [None] * 3
    assert [each for each in seen if each is not None] == [1, 2]
    assert updates.closed


async def test_a_drain_ends_the_watching() -> None:
    updates = Updates()
    stop = asyncio.Event()
    beats = with_beats(updates.given(), stop, 0.01)
    assert await anext(beats) is None
    stop.set()
    with pytest.raises(Draining):
        await anext(beats)
    assert updates.closed


async def test_a_follower_that_stops_leaves_nothing_behind() -> None:
    updates = Updates()
    updates.queue.put_nowait(1)
    async with aclosing(with_beats(updates.given(), asyncio.Event(), 30)) as beats:
        assert await anext(beats) == 1
    assert updates.closed
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_work_is_carried_through_when_its_caller_goes(caplog) -> None:
    detached = DetachedTasks()
    go, done = asyncio.Event(), []

    async def work(fails: bool) -> None:
        await go.wait()
        done.append(fails)
        if fails:
            raise Capacity("none left")

    callers = [asyncio.create_task(detached.run(work(fails))) for fails in (False, True)]
    await asyncio.sleep(0)  # lets them begin
    for caller in callers:
        caller.cancel()
    await asyncio.gather(*callers, return_exceptions=True)
    assert all(caller.cancelled() for caller in callers)
    go.set()
    await detached.finish()
    assert sorted(done) == [False, True]
    assert "none left" in caplog.text


async def test_what_fails_is_told_to_the_caller_that_stayed() -> None:
    async def work() -> None:
        raise Capacity

    with pytest.raises(Capacity):
        await DetachedTasks().run(work())
