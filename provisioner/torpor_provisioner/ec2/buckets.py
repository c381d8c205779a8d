"""Token buckets, without clocks and without waiting.

A caller reserves: the bucket may go below zero, and tells how long until what was reserved is
there. So callers are served in the order in which they came, and none of them polls.

AWS fills its buckets up once a second, at a moment that we do not know. What came since a bucket
was full is therefore counted in whole seconds: a caller never comes too soon, and less than a
second too late.

The published rate is what an account has for everybody in it. When AWS refuses all the same,
somebody else is calling too: the rate is halved, and grows back with each call that passes.
"""

from __future__ import annotations

import math

from torpor_provisioner.ec2.actions import Limit

HALVED = 0.5  # the rate, at each refusal
FLOOR = 0.1  # of the published rate
GROWTH = 0.05  # of the published rate, at each call that passed
ROUNDING = 1e-6  # of a second, and of a token: floats are not exact


class Bucket:
    """Times are seconds of any one monotonic clock."""

    def __init__(self, limit: Limit, now: float) -> None:
        self.limit = limit
        self.rate = limit.rate
        self._tokens = limit.capacity
        self._at = now
        self._halved_at = float("-inf")

    def __repr__(self) -> str:
        return f"<Bucket {self._tokens:.1f} of {self.limit.capacity:g}, {self.rate:.2f}/s>"

    def available(self, now: float) -> float:
        """Tokens that are there for a newcomer; below zero while others wait."""
        self._refill(now)
        return self._tokens

    def wait(self, tokens: float, now: float) -> float:
        """Seconds until that many could be had, without taking any."""
        missing = tokens - self.available(now)
        if missing <= 0.0:
            return 0.0
        return self._at + math.ceil(missing / self.rate - ROUNDING) - now

    def reserve(self, tokens: float, now: float) -> float:
        """Take them; returns the seconds to wait before they may be used."""
        wait = self.wait(tokens, now)
        if self._tokens >= self.limit.capacity:
            self._at = now
        self._tokens -= tokens
        return wait

    def give_back(self, tokens: float) -> None:
        """Undo a reservation that was not used."""
        self._tokens = min(self.limit.capacity, self._tokens + tokens)

    def drained(self, now: float, left: float = 0.0) -> None:
        """There are fewer than we thought; others have used them. `left` may still be there."""
        self._refill(now)
        self._at = now
        self._tokens = min(self._tokens, left)

    def refused(self, now: float) -> None:
        """AWS says that there was not even one.

        Refusals of calls that were under way together count as one: they tell one thing.
        """
        self.drained(now)
        if now - self._halved_at >= 1.0:
            self._halved_at = now
            self.rate = max(self.rate * HALVED, self.limit.rate * FLOOR)

    def passed(self, now: float) -> None:
        if self.rate < self.limit.rate:
            self._refill(now)
            self.rate = min(self.limit.rate, self.rate + self.limit.rate * GROWTH)

    def _refill(self, now: float) -> None:
        seconds = math.floor(now - self._at + ROUNDING)
        if seconds > 0:
            self._tokens = min(self.limit.capacity, self._tokens + seconds * self.rate)
            self._at += seconds
