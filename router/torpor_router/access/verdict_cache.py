"""What this node remembers of verdicts, and for how long it believes them.

A verdict in use is confirmed every `ROUND` by asking the database again, many at once; it is
believed for `TRUST` after the question was put that confirmed it. That bounds how long a revoked
token still opens streams, whether or not anyone tells this node. While the database does not
answer, nothing can be confirmed and nothing can be revoked either: then what was believed last
is believed for `GRACE`.

No I/O; times are seconds of the loop's clock.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from torpor_router.access.verdict import Verdict
from torpor_router.routing import Ask

ROUND = 0.5  # seconds between two confirmations
TRUST = 1.5  # with the relay's own quarter second this stays below 2
GRACE = 60.0  # longer than leases live without the database: those end the matter
GOOD = 10_000  # verdicts remembered
BAD = 4_096  # refusals remembered, apart from the others: strangers must not push those out


class CachedVerdict:
    """A verdict, when it was confirmed, when its credentials end, whether it is in use."""

    __slots__ = ("confirmed", "ends", "used", "verdict")

    def __init__(self, verdict: Verdict, confirmed: float) -> None:
        self.verdict = verdict
        self.confirmed = confirmed
        self.ends = confirmed + verdict.lives
        self.used = True

    def __repr__(self) -> str:
        return f"<Remembered {self.verdict} confirmed at {self.confirmed:.3f}>"


class VerdictCache:
    """Bounded: those that have been out of use the longest are forgotten first."""

    def __init__(self, good: int = GOOD, bad: int = BAD) -> None:
        self._good: OrderedDict[Ask, CachedVerdict] = OrderedDict()
        self._bad: OrderedDict[Ask, CachedVerdict] = OrderedDict()
        self._most_good = good
        self._most_bad = bad
        self._trust = TRUST

    def __repr__(self) -> str:
        state = "away" if self.away else "present"
        return f"<Memory of {len(self._good)} and {len(self._bad)} refused, database {state}>"

    def __len__(self) -> int:
        return len(self._good) + len(self._bad)

    @property
    def away(self) -> bool:
        """Whether the database does not answer."""
        return self._trust != TRUST

    @away.setter
    def away(self, away: bool) -> None:
        self._trust = GRACE if away else TRUST

    def good(self, ask: Ask, now: float) -> Verdict | None:
        """The verdict, if it is believed and not a refusal."""
        known = self._good.get(ask)
        if known is None or known.confirmed + self._trust <= now or known.ends <= now:
            return None
        known.used = True
        return known.verdict

    def any(self, ask: Ask, now: float) -> Verdict | None:
        """The verdict, if it is believed. Refusals have no grace: they cost nothing to find."""
        if (verdict := self.good(ask, now)) is not None:
            return verdict
        known = self._bad.get(ask)
        return known.verdict if known is not None and known.confirmed + TRUST > now else None

    def keep(self, ask: Ask, verdict: Verdict, confirmed: float, *, used: bool) -> None:
        """Remember a verdict on a question that was put at `confirmed`.

        `used` says that somebody waits for it; otherwise it is in use if it was.
        """
        good, bad = self._good, self._bad
        before = good.pop(ask, None)
        bad.pop(ask, None)
        among, most = (good, self._most_good) if verdict.refusal is None else (bad, self._most_bad)
        among[ask] = known = CachedVerdict(verdict, confirmed)
        known.used = used or (before is not None and before.used)
        if len(among) > most:
            among.popitem(last=False)

    def forget(self, ask: Ask) -> None:
        """Let it be asked for anew: something was just done about it."""
        self._good.pop(ask, None)
        self._bad.pop(ask, None)

    def in_use(self, now: float) -> Iterator[Ask]:
        """What was asked for since the last time; from now on, what is asked for hereafter."""
        for ask, known in list(self._good.items()):
            if known.used and known.ends > now:
                known.used = False
                yield ask

    def forget_unused(self) -> None:
        """Let what nobody asked for lately be asked for anew."""
        for ask, known in list(self._good.items()):
            if not known.used:
                del self._good[ask]
        self._bad.clear()
