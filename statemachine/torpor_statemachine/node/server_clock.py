"""The database's clock, held against this node's own, which nobody can set.

Whether others are silent, or late, is found out by the database's clock. Set forth, by an operator
or in a failover to a server that is ahead, it would show everybody silent at once. So a judgement
counts only if the clock shows what it should by then; and who finds it set forth judges nobody
until each node that lives has beaten by the new time.
"""

from __future__ import annotations

from math import inf

from torpor_statemachine import clock
from torpor_statemachine.config import FleetConfig

_DRIFT = 0.1  # seconds from one heartbeat to the next: one clock is being slewed, or both


class ServerClock:
    """Its times are in seconds since Postgres's epoch of `extract(epoch from …)`."""

    def __init__(self, config: FleetConfig) -> None:
        self._tolerance = config.claims_live / 3  # so much of its life a claim can do without
        self._settles = config.heartbeat * 1.25 + config.safety
        self._ahead: float | None = None  # of this node's own, as far as answers took their time
        self._forth_at = -inf

    def __repr__(self) -> str:
        return f"<ServerClock, good until {self.latest():.1f}>"

    def seen(self, shown: float, asked_at: float) -> bool:
        """It showed `shown` in an answer that has just come to what was asked at `asked_at`.
        Whether it was set forth since it was seen before."""
        least, most, before = shown - clock.now(), shown - asked_at, self._ahead
        if before is None:
            self._ahead = most
        elif least <= before + self._tolerance:
            self._ahead = min(most, before + _DRIFT)
        else:
            self._ahead, self._forth_at = most, clock.now()
            return True
        return False

    def latest(self) -> float:
        """What it may show now, at most, for others to be judged by it: -inf where it was set
        forth a moment ago, inf where it was not seen yet."""
        if clock.now() < self._forth_at + self._settles:
            return -inf
        return inf if self._ahead is None else self._ahead + clock.now() + self._tolerance
