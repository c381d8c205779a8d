"""Until when a call may take effect, as the tasks, threads and queues that work for it see it."""

from __future__ import annotations

import asyncio
import math

import pytest

from torpor_provisioner import deadline
from torpor_provisioner.errors import NotReady


def test_outside_of_any_call_there_is_all_the_time() -> None:
    assert math.isinf(deadline.left())
    assert math.isinf(deadline.keep()())
    deadline.check("wake")


def test_inside_it_is_the_callers_to_say() -> None:
    left = [3.0]
    with deadline.given(lambda: left[0]):
        assert deadline.left() == 3.0
        left[0] = -1.0
        assert deadline.left() == 0.0
        with pytest.raises(NotReady, match="wake: its time was up"):
            deadline.check("wake")


def test_a_kept_deadline_has_passed_when_its_call_is_over() -> None:
    with deadline.given(lambda: 3.0):
        kept = deadline.keep()
        assert kept() == 3.0
    assert kept() == 0.0
    assert math.isinf(deadline.left())


def test_a_call_within_a_call_has_its_own() -> None:
    with deadline.given(lambda: 3.0):
        with deadline.given(lambda: 1.0) as inner:
            assert deadline.left() == 1.0
            inner.pass_now()
            assert deadline.left() == 0.0
        assert deadline.left() == 3.0


async def test_tasks_and_threads_that_were_begun_inside_have_it() -> None:
    async def asks() -> float:
        return deadline.left()

    with deadline.given(lambda: 3.0):
        task = asyncio.create_task(asks())
        assert await task == 3.0
        assert await asyncio.to_thread(deadline.left) == 3.0
        alone = await asyncio.get_running_loop().run_in_executor(None, deadline.left)
        assert math.isinf(alone), "an executor's thread gets it with its work"
