"""The streams of one client connection, and the state of each (RFC 9113 section 5.1).

This is the one place where a stream comes, changes and goes. A stream that the worker has was
counted in at the gate before it came here, unless it is LIGHT; `close` takes it out and counts it
out in one step, so that nothing which fails in between can leave a satellite awake for ever.

A state is a word of bits, for the scanner's sake; `phase` tells it in the RFC's words, and
`LIFE` lists what may become of what.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Final

from torpor_router.dialects.purpose import Purpose
from torpor_router.h2.faults import ConnectionFault
from torpor_router.h2.wire import END_STREAM, ErrorCode
from torpor_router.relay.held import Held
from torpor_router.relay.methods import Methods
from torpor_router.relay.watched import Watched

CLIENT_ENDED: Final = END_STREAM
WORKER_ENDED: Final = 2
RESPONDED: Final = 4  # the client has had the answer's first HEADERS
TAGGED: Final = 8  # that HEADERS is to tell of the wake
QUEUED: Final = 16  # the client's frames wait here, for the satellite or for its window
HELD: Final = 32  # the worker has not seen the stream
NODE: Final = 64  # the node's own services answer it
FOR_CALLERS: Final = 128  # with it: those that need a token
LIGHT: Final = 256  # it does not keep the satellite awake, and was not counted in
TELLS: Final = 512  # with it: it is well answered by an empty message
WATCHED: Final = 1024  # the worker's answer is to be kept
EARLY: Final = 2048  # the door has begun its answer, and stands between client and worker
# from bit 16 on: its method (see `methods`)

_LIGHT: Final = {Purpose.TELLS: LIGHT | TELLS, Purpose.REPORTS: LIGHT}
_REMEMBERED: Final = 256  # closed streams on which the client's frames may still be under way
_GAPS: Final = 64  # of the stream ids that a client left out, as many are told from closed ones


class Phase(StrEnum):
    """Where a stream is, as the client sees it."""

    IDLE = "idle"
    WAITING = "waiting"  # open or half-closed to the client, idle to the worker
    OPEN = "open"
    CLIENT_DONE = "half-closed (client)"
    WORKER_DONE = "half-closed (worker)"
    NODE = "answered by the node"
    REFUSED = "refused"  # closed by the door; the client may not know yet
    CLOSED = "closed"


# phase -> what it may become, and by which event; the section is RFC 9113's.
LIFE: dict[Phase, dict[Phase, str]] = {
    Phase.IDLE: {
        Phase.WAITING: "HEADERS of a request that must wait (5.1)",
        Phase.OPEN: "HEADERS of a request that may go at once (5.1)",
        Phase.CLIENT_DONE: "the same with END_STREAM (5.1)",
        Phase.NODE: "HEADERS for the node's services (5.1)",
        Phase.REFUSED: "HEADERS that the door answers with a code (8.1)",
    },
    Phase.WAITING: {
        Phase.OPEN: "release, in the order of ids (5.1.1)",
        Phase.CLIENT_DONE: "release of a whole request",
        Phase.NODE: "it only tells, or looks, and the satellite is not awake",
        Phase.REFUSED: "an answer with a code, or GOAWAY below it (6.8, 8.1)",
        Phase.CLOSED: "RST_STREAM by the client (6.4)",
    },
    Phase.OPEN: {
        Phase.CLIENT_DONE: "END_STREAM by the client (5.1)",
        Phase.WORKER_DONE: "END_STREAM by the worker (5.1)",
        Phase.REFUSED: "RST_STREAM by the worker or the door (6.4)",
        Phase.CLOSED: "RST_STREAM by the client (6.4)",
    },
    Phase.CLIENT_DONE: {
        Phase.REFUSED: "RST_STREAM by the worker or the door (6.4)",
        Phase.CLOSED: "END_STREAM by the worker, or RST_STREAM (5.1)",
    },
    Phase.WORKER_DONE: {
        Phase.REFUSED: "RST_STREAM by the worker or the door (6.4)",
        Phase.CLOSED: "END_STREAM by the client, or RST_STREAM (5.1)",
    },
    Phase.NODE: {
        Phase.REFUSED: "an answer with a code, or RST_STREAM by the node",
        Phase.CLOSED: "both ends have ended it (5.1)",
    },
    Phase.REFUSED: {Phase.CLOSED: "END_STREAM or RST_STREAM by the client (5.1)"},
    Phase.CLOSED: {},
}


def phase(state: int) -> Phase:
    """Where a stream with these bits is."""
    if state & NODE:
        return Phase.NODE
    if state & HELD:
        return Phase.WAITING
    if state & CLIENT_ENDED:
        return Phase.CLIENT_DONE
    return Phase.WORKER_DONE if state & WORKER_ENDED else Phase.OPEN


def diagram() -> str:
    """Draw `LIFE` for Mermaid."""
    names = {each: each.name.lower() for each in Phase}
    lines = ["stateDiagram-v2"]
    lines += [f'    state "{each}" as {names[each]}' for each in Phase if each is not Phase.IDLE]
    for source, targets in LIFE.items():
        start = "[*]" if source is Phase.IDLE else names[source]
        lines += [f"    {start} --> {names[target]}: {why}" for target, why in targets.items()]
    return "\n".join(lines) + "\n"


def _nobody(*_: int) -> None:
    raise AssertionError("a stream of a connection that is over")


class Streams:
    """One client connection's streams.

    `leave` is called once for each that was counted in; `cut_short` for one where the worker
    has not had all.

    `states` has the bits of every open stream; the scanners read and change it. `due` is set when
    something is to be done behind the frame at hand: a stream that waits may go, or the last one
    of a connection that is to end is over.
    """

    __slots__ = (
        "_cut_short",
        "_gaps",
        "_leave",
        "closed",
        "due",
        "goaway",
        "held",
        "held_octets",
        "last",
        "methods",
        "node",
        "retiring",
        "states",
        "tags",
        "watched",
    )

    def __init__(self, leave: Callable[[], None], cut_short: Callable[[int], None]) -> None:
        self._leave = leave
        self._cut_short = cut_short
        self._gaps: list[range] = []
        self.states: dict[int, int] = {}
        self.methods = Methods()
        self.held: dict[int, Held] = {}  # in the order in which they must reach the worker
        self.held_octets = 0  # of their request blocks
        self.tags: dict[int, bytes] = {}  # fields for the first answer after a hold
        self.watched: dict[int, Watched] = {}
        self.closed: dict[int, int] = {}  # by the door or the worker; whether the client ended it
        self.node = 0  # streams that the node's own services answer
        self.last = 0  # the highest that the client has opened
        self.due = False
        self.goaway: int | None = None  # the client was told that none over this is served here
        self.retiring = False  # the connection ends with its last stream

    def __repr__(self) -> str:
        held, node = len(self.held), self.node
        return f"<Streams {len(self.states)} open: {held} held, {node} at the node>"

    def __len__(self) -> int:
        return len(self.states)

    @property
    def at_worker(self) -> int:
        """Streams that the worker has open, or will think that it has."""
        return len(self.states) - len(self.held) - self.node

    def above_goaway(self, stream: int) -> bool:
        """Whether the client was told that `stream` is not served here."""
        return self.goaway is not None and stream > self.goaway

    def cut_by_goaway(self, stream: int) -> bool:
        """Whether `stream` was open, or opened since, although it is not served here."""
        return self.above_goaway(stream) and bool(stream & 1) and stream <= self.last

    @property
    def last_served(self) -> int:
        """The highest stream that something was, or may have been, done for (section 6.8)."""
        return self.last if self.goaway is None else min(self.last, self.goaway)

    def take_apart(self) -> None:
        """All are over: refer to nobody any more."""
        assert not self.states
        self._leave = self._cut_short = _nobody

    # --- coming

    def check_new(self, stream: int) -> None:
        """Take note of the id of a new stream.

        Raises:
            ConnectionFault: a client may not open it (section 5.1.1), or has closed it already.
        """
        if not stream & 1:
            raise ConnectionFault(
                ErrorCode.PROTOCOL_ERROR, "HEADERS on a stream that clients may not open"
            )
        if stream <= self.last:
            if any(stream in gap for gap in self._gaps):
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a lower stream id than before")
            raise ConnectionFault(ErrorCode.STREAM_CLOSED, "HEADERS on a closed stream")
        first_left_out = self.last + 2 if self.last else 1
        if stream > first_left_out:
            self._gaps.append(range(first_left_out, stream, 2))
            del self._gaps[:-_GAPS]
        self.last = stream

    def enter(self, stream: int, *, ended: bool) -> None:
        """A stream that goes to the worker at once; it was counted in."""
        self.states[stream] = CLIENT_ENDED if ended else 0

    def enter_node(self, stream: int, *, for_anyone: bool, ended: bool) -> None:
        """A stream for the node's own services; no satellite counts it."""
        kind = NODE if for_anyone else NODE | FOR_CALLERS
        self.states[stream] = kind | (CLIENT_ENDED if ended else 0)
        self.node += 1

    def hold(self, held: Held) -> None:
        """A stream that waits, or that others wait before."""
        kind = QUEUED | HELD | _LIGHT.get(held.target.purpose, 0)
        self.states[held.stream] = kind | (CLIENT_ENDED if held.ends_with_block else 0)
        self.held[held.stream] = held
        self.held_octets += held.size

    def release(self, held: Held, tag: bytes) -> None:
        """The worker is about to get `held`, which was counted in when it was admitted."""
        del self.held[held.stream]
        self.held_octets -= held.size
        state = self.states[held.stream] & ~(QUEUED | HELD) | self.methods[held.path]
        if tag:
            state |= TAGGED
            self.tags[held.stream] = tag
        self.states[held.stream] = state

    def watch(self, stream: int, method: str) -> None:
        """Keep what the worker answers to a stream that it is about to get."""
        self.states[stream] |= WATCHED
        self.watched[stream] = Watched(method)

    def hand_over(self, held: Held) -> None:
        """The node has `held` now, under another state."""
        del self.held[held.stream]
        self.held_octets -= held.size

    # --- going

    def drop(self, held: Held) -> None:
        """`held` never reaches the worker."""
        del self.held[held.stream]
        self.held_octets -= held.size
        self.remember(held.stream, self.states.pop(held.stream))

    def end_by_client(self, stream: int) -> None:
        """END_STREAM on a stream that the worker or the node knows."""
        if self.states[stream] & WORKER_ENDED:
            self.close(stream)
        else:
            self.states[stream] |= CLIENT_ENDED

    def end_by_worker(self, stream: int) -> None:
        """END_STREAM by the worker or the node."""
        if self.states[stream] & CLIENT_ENDED:
            self.close(stream)
        else:
            self.states[stream] |= WORKER_ENDED

    def close(self, stream: int) -> int:
        """Take out a stream that the worker or the node had, and count it out; its last state."""
        state = self.states.pop(stream)
        if self.held or self.retiring:
            self.due = True
        if state & NODE:
            self.node -= 1
            return state
        if not state & LIGHT:
            self._leave()
        if state & (TAGGED | QUEUED | WATCHED):
            self.tags.pop(stream, None)
            self.watched.pop(stream, None)
            if state & QUEUED:
                self._cut_short(stream)
        return state

    def remember(self, stream: int, state: int) -> None:
        """The client may not know yet that `stream` is closed, and send more on it."""
        self.closed[stream] = state & CLIENT_ENDED
        if len(self.closed) > _REMEMBERED:
            del self.closed[next(iter(self.closed))]
