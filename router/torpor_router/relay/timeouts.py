"""What is wrong with a connection that says nothing, or says it too slowly."""

from __future__ import annotations

from torpor_provisioner.errors import TorporError
from torpor_router.errors import IdleConnection, SlowStart, StalledPeer
from torpor_router.h2.scanner import FrameScanner
from torpor_router.h2.wire import Kind
from torpor_router.limits import Limits
from torpor_router.relay.pair import Pair


class Timeouts:
    """Looks at one connection every second or so; costs nothing in between.

    `look` returns the reason to end the connection, if there is one. Times are the loop's.
    """

    __slots__ = (
        "_begun",
        "_idle_since",
        "_limits",
        "_progress",
        "_progress_at",
        "_shut_since",
        "stalled_since",
    )

    def __init__(self, limits: Limits, now: float) -> None:
        self._limits = limits
        self._begun = now
        self._idle_since = now
        self._progress = -1
        self._progress_at = now
        self._shut_since = now
        self.stalled_since: float | None = None  # since when the peer has taken no octet

    def look(self, pair: Pair, now: float) -> TorporError | None:
        limits, leg = self._limits, pair.client
        if not (leg.greeted and leg.stateless) and now - self._begun > limits.preface_timeout:
            what = "acknowledgement of ours" if leg.greeted else "SETTINGS"
            return SlowStart(f"no {what} in {limits.preface_timeout:g} s")
        if not leg.greeted:
            return None
        if not (pair.streams.retiring and (pair.window.waiting or pair.early.waiting)):
            self._shut_since = now  # else: its last answers wait for it to open its window
        since = self._shut_since if self.stalled_since is None else self.stalled_since
        if now - since > limits.write_stall:
            return StalledPeer(f"for {limits.write_stall:g} s")
        return self._look_at_frames(leg, now) or self._look_at_streams(pair, now)

    def _look_at_frames(self, leg: FrameScanner, now: float) -> TorporError | None:
        """A frame that was begun must come whole in time. DATA may be as slow as its network."""
        if leg.progress != self._progress or leg.unfinished in (None, Kind.DATA):
            self._progress = leg.progress
            self._progress_at = now
        elif now - self._progress_at > self._limits.header_timeout:
            return SlowStart(f"a frame took over {self._limits.header_timeout:g} s")
        return None

    def _look_at_streams(self, pair: Pair, now: float) -> TorporError | None:
        """Who has shown no credentials has only so long, whatever it has open."""
        if pair.stranger:
            limit, since = self._limits.first_request_timeout, self._begun
        elif pair.streams.states:
            self._idle_since = now
            return None
        else:
            limit, since = self._limits.idle_timeout, self._idle_since
        return IdleConnection(f"for {limit:g} s") if now - since > limit else None
