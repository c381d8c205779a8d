"""Many nodes together look as often as few."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torpor_statemachine.upkeep.pace import FULL, SLOWEST, pace


@pytest.mark.parametrize("living", [0, 1, 3, FULL])
def test_few_nodes_keep_their_own_pace(living: int) -> None:
    assert pace(1.5, living) == 1.5


@given(st.integers(FULL, 2_000), st.floats(0.1, 60.0))
def test_of_many_each_looks_more_seldom_and_never_too_seldom(living: int, every: float) -> None:
    paced = pace(every, living)
    assert every <= paced <= SLOWEST * every
    together = living / paced  # looks a second
    assert together >= FULL / every * (1 - 1e-9)
    assert pace(every, living + 1) >= paced
