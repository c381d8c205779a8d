"""A bound that orgs share: alone half of it, and always a place for one that comes later."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from torpor_router.shares import Shares


def filled(shares: Shares, org: str) -> int:
    """How many more places the org gets."""
    taken = 0
    while shares.enter(org):
        taken += 1
    return taken


def test_each_that_comes_gets_a_share_however_greedy_those_before() -> None:
    shares = Shares(1_000)
    assert filled(shares, "greedy") == 500
    assert filled(shares, "second") == 250
    assert filled(shares, "third") == 125
    assert filled(shares, "greedy") == 0
    assert not shares.full


def test_what_is_given_back_can_be_taken_by_others() -> None:
    shares = Shares(10)
    assert filled(shares, "acme") == 5
    assert filled(shares, "globex") == 3
    for _ in range(5):
        shares.leave("acme")
    assert (shares.of("acme"), shares.total) == (0, 3)
    assert filled(shares, "globex") == 2  # five, now half of all
    for _ in range(5):
        shares.leave("globex")
    assert repr(shares) == "<Shares 0 of 10, 0 orgs>"


def test_full_is_full() -> None:
    shares = Shares(1)
    assert shares.enter("acme")
    assert shares.full
    assert not shares.enter("globex")


@given(
    st.integers(1, 64),
    st.lists(st.tuples(st.sampled_from("abcdef"), st.booleans()), max_size=300),
)
def test_never_more_than_the_bound_and_a_newcomer_gets_in_unless_it_is_full(
    most: int, steps: list[tuple[str, bool]]
) -> None:
    shares, taken = Shares(most), Counter[str]()
    for org, enters in steps:
        if enters:
            free = most - taken.total()
            assert shares.enter(org) == (taken[org] < free)
            taken[org] += taken[org] < free
        elif taken[org]:
            shares.leave(org)
            taken[org] -= 1
        assert shares.total == taken.total() <= most
        assert shares.full == (taken.total() == most)
