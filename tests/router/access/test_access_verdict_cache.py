"""How long a verdict is believed, and which are forgotten."""

from __future__ import annotations

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from torpor_router.access.errors import BadToken
from torpor_router.access.verdict import Verdict
from torpor_router.access.verdict_cache import GRACE, ROUND, TRUST, VerdictCache
from torpor_router.routing import Ask, Route

ONE = Ask("acme", "one", b"t1")
TWO = Ask("acme", "two", b"t1")
GOOD = Verdict(route=Route(UUID(int=1), "acme", "one", "token:ci"))
BAD = Verdict(refusal=BadToken())


def test_the_bound_on_revocation_holds_with_the_relays_own_quarter_second() -> None:
    assert ROUND < TRUST
    assert TRUST + 0.25 < 2


def test_a_verdict_is_believed_for_a_while_after_it_was_asked_for() -> None:
    cache = VerdictCache()
    cache.keep(ONE, GOOD, 100.0, used=True)
    assert cache.good(ONE, 100.0 + TRUST - 0.01) is GOOD
    assert cache.good(ONE, 100.0 + TRUST) is None
    assert cache.good(TWO, 100.0) is None


def test_while_the_database_is_away_it_is_believed_longer_but_not_for_ever() -> None:
    cache = VerdictCache()
    cache.keep(ONE, GOOD, 100.0, used=True)
    cache.away = True
    assert cache.good(ONE, 100.0 + GRACE - 0.01) is GOOD
    assert cache.good(ONE, 100.0 + GRACE) is None
    cache.away = False
    assert cache.good(ONE, 100.0 + TRUST) is None


@given(st.booleans(), st.floats(0.1, 100))
def test_nothing_outlives_its_credentials(away: bool, lives: float) -> None:
    cache = VerdictCache()
    cache.away = away
    cache.keep(ONE, Verdict(route=GOOD.route, lives=lives), 100.0, used=True)
    assert cache.good(ONE, 100.0 + lives) is None
    assert cache.any(ONE, 100.0 + lives + 0.1) is None


def test_a_refusal_is_remembered_shortly_and_never_good() -> None:
    cache = VerdictCache()
    cache.keep(ONE, BAD, 100.0, used=True)
    assert cache.good(ONE, 100.0) is None
    assert cache.any(ONE, 100.0) is BAD
    cache.away = True
    assert cache.any(ONE, 100.0 + TRUST) is None


def test_a_refusal_ends_what_was_good_at_once() -> None:
    cache = VerdictCache()
    cache.keep(ONE, GOOD, 100.0, used=True)
    cache.keep(ONE, BAD, 100.1, used=False)
    assert cache.any(ONE, 100.1) is BAD


def test_only_what_is_in_use_is_asked_for_again() -> None:
    cache = VerdictCache()
    cache.keep(ONE, GOOD, 100.0, used=True)
    cache.keep(TWO, GOOD, 100.0, used=True)
    assert list(cache.in_use(100.1)) == [ONE, TWO]
    cache.good(TWO, 100.2)
    assert list(cache.in_use(100.3)) == [TWO]
    cache.keep(TWO, GOOD, 100.4, used=False)
    assert list(cache.in_use(100.5)) == []
    cache.good(ONE, 100.5)
    cache.keep(ONE, GOOD, 100.6, used=False)
    assert list(cache.in_use(100.7)) == [ONE]
    assert list(cache.in_use(300.0)) == []


def test_what_nobody_asked_for_lately_is_forgotten_when_access_changed() -> None:
    cache = VerdictCache()
    cache.keep(ONE, GOOD, 100.0, used=True)
    cache.keep(TWO, GOOD, 100.0, used=False)
    cache.keep(Ask("acme", "none", b"t"), BAD, 100.0, used=True)
    cache.forget_unused()
    assert cache.good(ONE, 100.1) is GOOD
    assert cache.good(TWO, 100.1) is None
    assert len(cache) == 1


class AnyOrder(RuleBasedStateMachine):
    """Whatever happens, sizes are bounded, and nothing is good that was not confirmed lately."""

    def __init__(self) -> None:
        super().__init__()
        self.cache = VerdictCache(good=3, bad=2)
        self.now = 0.0
        self.confirmed: dict[Ask, float] = {}

    asks = st.sampled_from([Ask("acme", f"s{n}", b"t") for n in range(8)])

    @rule(ask=asks, good=st.booleans(), used=st.booleans())
    def keep(self, ask: Ask, good: bool, used: bool) -> None:
        self.cache.keep(ask, GOOD if good else BAD, self.now, used=used)
        self.confirmed.pop(ask, None)
        if good:
            self.confirmed[ask] = self.now

    @rule(seconds=st.floats(0, 5))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(ask=asks, away=st.booleans())
    def ask(self, ask: Ask, away: bool) -> None:
        self.cache.away = away
        if self.cache.good(ask, self.now) is not None:
            assert self.now - self.confirmed[ask] < (GRACE if away else TRUST)

    @rule()
    def change(self) -> None:
        self.cache.forget_unused()
        list(self.cache.in_use(self.now))

    @invariant()
    def bounded(self) -> None:
        assert len(self.cache) <= 5


TestAnyOrder = AnyOrder.TestCase
