"""Answers that the door begins while a satellite wakes, and that its worker goes on with.

The caller of a stream that shows a build's progress sees the wake in it: the door sends the
response's HEADERS and messages of its own, each whole or not at all. At release the worker gets
the request as ever. Its HEADERS are left out, for the client has had some; its messages and
trailers follow.

Windows (RFC 9113 section 5.2): what the door said on a stream the worker does not know of. It is
taken off what the client has opened the stream's window by, and the rest is `owed`: the worker
believes that it may send so many octets more than the client takes. They are repaid out of the
client's next window updates for the stream; until then what the worker sends too much is kept
here, which is never more than is owed. `ClientWindow` does the same for the connection's window.

A stream whose debt is paid is a stream like any other.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Final

from torpor_provisioner.errors import TorporError
from torpor_router.dialects.progress import Narrator, NarratorOf, title
from torpor_router.dialects.requests import narrator_of
from torpor_router.errors import WorkerContinues
from torpor_router.h2 import wire
from torpor_router.h2.faults import StreamFault
from torpor_router.h2.wire import BIGGEST_WINDOW, ErrorCode, Kind
from torpor_router.relay.answers import begun
from torpor_router.relay.binding import Binding
from torpor_router.relay.context import Relay
from torpor_router.relay.exchange import SettingsExchange
from torpor_router.relay.held import Held
from torpor_router.relay.pacing import Paced, data_size, together
from torpor_router.relay.rewrite import ACCEPTED
from torpor_router.relay.streams import EARLY, RESPONDED, Streams
from torpor_router.relay.windows import ClientWindow, Credit
from torpor_statemachine.gate import Outlook
from torpor_statemachine.lifecycle.states import State

_EVERY: Final = 1.0  # seconds between two lines
_SOON: Final = 0.2  # seconds until it is looked again whether anything is known of the wake
_MOST: Final = 64  # streams of one connection
# Octets of the door's own on one stream, beyond what the client has given back
_UNREAD: Final = 32 * 1024
_FRAMES: Final = 64  # that wait for one stream, before they are put together
_LONGEST: Final = 1_000  # characters of a line
_PREFIX: Final = 5  # octets before a message
# Octets of a worker's first message, where the door has said some of it
_LARGEST: Final = 16 * 1024
# Octets by which a step's last message may be longer than the one that was measured
_SPARE: Final = 32

_UNCOMPRESSED: Final = (b"", b"identity")


class EarlyAnswer:
    """One stream's: `narrator` is there once it has begun, `paced` once the worker goes on."""

    __slots__ = (
        "answered",
        "first",
        "held",
        "kept",
        "narrate",
        "narrator",
        "obstacle",
        "over",
        "owed",
        "own",
        "paced",
        "reserve",
        "shrunk",
    )

    def __init__(self, held: Held, narrate: NarratorOf) -> None:
        self.held: Held | None = held  # until it waits no more
        self.narrate = narrate
        self.narrator: Narrator | None = None
        self.own = 0  # octets of DATA that the door has sent on it
        self.reserve = 0  # octets that the last message may take
        self.obstacle = ""  # that was told last
        self.paced: Paced | None = None  # the worker's frames that wait for the stream's window
        self.kept = 0  # octets of DATA among them
        self.owed = 0
        self.shrunk = 0  # octets that the client has ever made the window smaller by
        self.answered = False  # the worker's HEADERS have come
        self.over = False  # the worker has ended it
        self.first: bytearray | None = None  # of the worker's first message, until it is whole

    def __repr__(self) -> str:
        if self.held is not None:
            return f"<EarlyAnswer {'begun' if self.narrator else 'to come'}, {self.held!r}>"
        return f"<EarlyAnswer continued, {self.owed} owed, {self.kept} kept>"


class EarlyAnswers:
    """Those of one client connection."""

    __slots__ = (
        "_binding",
        "_by_stream",
        "_exchange",
        "_relay",
        "_streams",
        "_window",
        "_worker_credit",
        "_write",
    )

    def __init__(
        self,
        relay: Relay,
        write: Callable[[bytes], None],
        *,
        binding: Binding,
        streams: Streams,
        exchange: SettingsExchange,
        window: ClientWindow,
        worker_credit: Credit,
    ) -> None:
        self._relay = relay
        self._write = write
        self._binding = binding
        self._streams = streams
        self._exchange = exchange
        self._window = window
        self._worker_credit = worker_credit
        self._by_stream: dict[int, EarlyAnswer] = {}

    def __repr__(self) -> str:
        return f"<EarlyAnswers {self._by_stream}>"

    def __contains__(self, stream: int) -> bool:
        return stream in self._by_stream

    def __len__(self) -> int:
        return len(self._by_stream)

    @property
    def begun(self) -> list[Held]:
        """Those who wait and have had the beginning of their answer."""
        return [
            early.held
            for early in self._by_stream.values()
            if early.held is not None and early.narrator is not None
        ]

    @property
    def waiting(self) -> int:
        """The worker's frames that wait for streams' windows."""
        return sum(len(early.paced.frames) for early in self._by_stream.values() if early.paced)

    # --- while the satellite wakes

    def expect(self, held: Held) -> None:
        """`held` has to wait: begin its answer once it is known for what, if it is of that kind.

        A connection that its satellite has slept under is given up, and its requests are made
        anew on another; an answer that has begun could not be.
        """
        narrate = narrator_of(held.target.path)
        if narrate is None or not self._relay.wake_progress or self._binding.epoch is not None:
            return
        if len(self._by_stream) >= _MOST:
            return
        if any(each.name == _ENCODING and each.value not in _UNCOMPRESSED for each in held.fields):
            return  # its worker would compress the messages, and HEADERS have to say so
        early = self._by_stream[held.stream] = EarlyAnswer(held, narrate)
        self._relay.teller.add(lambda now: self._narrate(early, now), self._relay.clock())

    def _narrate(self, early: EarlyAnswer, now: float) -> float | None:
        held = early.held
        if held is None or held.route is None:
            return None
        outlook = self._relay.gate.outlook(held.route.satellite_id)
        waited = now - held.since
        if waited < early.narrate.after:
            return held.since + early.narrate.after
        if early.narrator is not None:
            self._say_line(early, held, early.narrator, outlook, waited)
        elif outlook is None or outlook.state is State.RUNNING or held.admitted is not None:
            return now + _SOON
        else:
            self._begin(early, held, outlook, waited)
        return held.since + _EVERY * (waited // _EVERY + 1)

    def _begin(self, early: EarlyAnswer, held: Held, outlook: Outlook, waited: float) -> None:
        assert held.route is not None
        name = f"{held.route.org}/{held.route.satellite}"
        narrator = early.narrate(title(name, outlook), time.time() - waited)
        first = _framed(narrator.begin())
        early.reserve = len(_framed(narrator.end())) + _SPARE
        early.first = bytearray() if narrator.repeated else None
        if len(first) + early.reserve <= self._room(early, held):
            early.narrator = narrator
            self._streams.states[held.stream] |= EARLY | RESPONDED
            self._window.send(begun(held.stream))
            self._say(early, held, first)

    def _say_line(
        self,
        early: EarlyAnswer,
        held: Held,
        narrator: Narrator,
        outlook: Outlook | None,
        waited: float,
    ) -> None:
        text, obstacle = f"{waited:.0f} s", outlook.obstacle if outlook is not None else ""
        if obstacle and obstacle != early.obstacle:
            text = f"{text}: {obstacle}"[:_LONGEST]
        line = _framed(narrator.line(text))
        if len(line) + early.reserve <= self._room(early, held):
            early.obstacle = obstacle
            self._say(early, held, line)

    def _room(self, early: EarlyAnswer, held: Held) -> int:
        """Octets that may be said at once, and that the client will read before long."""
        if self._window.waiting:
            return 0
        unread = _UNREAD + held.window - early.own
        return min(self._window.room, self._stream_room(early, held), unread)

    def _stream_room(self, early: EarlyAnswer, held: Held) -> int:
        return self._exchange.client_window + held.window - early.own

    def _say(self, early: EarlyAnswer, held: Held, message: bytes) -> None:
        early.own += len(message)
        if message:
            self._window.send(wire.frame(Kind.DATA, 0, held.stream, message), len(message))

    def _end(self, early: EarlyAnswer, held: Held, *errors: str) -> None:
        """The step's last message: the first of these that the stream's window takes."""
        assert early.narrator is not None
        for error in errors:
            message = _framed(early.narrator.end(error))
            if len(message) <= self._stream_room(early, held):
                self._say(early, held, message)
                return

    # --- going

    def release(self, held: Held) -> int:
        """The worker is about to get `held`; by how much its window is open for the worker."""
        early = self._by_stream.get(held.stream)
        if early is None:
            return held.window
        early.held = None
        if early.narrator is None:
            del self._by_stream[held.stream]
            return held.window
        held.fields = [each for each in held.fields if each.name != ACCEPTED]  # see _ENCODING
        self._end(early, held, "")
        early.paced = Paced([], self._stream_room(early, held))
        early.owed = max(0, early.own - held.window)
        return max(0, held.window - early.own)

    def finish(self, held: Held) -> bool:
        """`held` is about to be answered in full, and all is well; whether its answer has begun."""
        return self._ends(held, "")

    def refuse(self, held: Held, error: TorporError) -> bool:
        """`held` is about to be answered with a code; whether its answer has begun."""
        return self._ends(held, str(error), error.code)

    def _ends(self, held: Held, *errors: str) -> bool:
        early = self._by_stream.get(held.stream)
        if early is None or early.narrator is None:
            return False
        self._end(early, held, *errors)
        return True

    def drop(self, stream: int) -> None:
        """Nothing more of the stream goes to the client, or it waits no longer."""
        early = self._by_stream.pop(stream, None)
        if early is not None:
            early.held = None
            self._worker_credit.add(early.kept + len(early.first or b""))

    def drop_all(self) -> None:
        """Nothing more goes to the client: also of streams whose end waits for its window."""
        for stream in list(self._by_stream):
            self.drop(stream)

    # --- once the worker goes on

    def answered(self, stream: int) -> bool:
        """Whether the worker's HEADERS have come."""
        return self._by_stream[stream].answered

    def answers(self, stream: int) -> bool:
        """The worker's HEADERS have come; whether they are the first."""
        early = self._by_stream[stream]
        first, early.answered = not early.answered, True
        self._let_go(stream, early)
        return first

    def continued(self, stream: int, data: bytes) -> tuple[bytes, int]:
        """What the client gets for the worker's DATA, and how much less that is.

        Of the worker's first message is left out what the door has said in its place.

        Raises:
            WorkerContinues: it is not what can stand behind the door's own.
        """
        early = self._by_stream[stream]
        first, narrator = early.first, early.narrator
        if first is None or narrator is None:
            return data, 0
        first += data
        end = _PREFIX + int.from_bytes(first[1:_PREFIX], "big")
        if len(first) < _PREFIX or len(first) < end <= _LARGEST:
            return b"", 0
        rest = narrator.continued(bytes(first[_PREFIX:end])) if not first[0] else None
        if rest is None or end > _LARGEST:
            raise WorkerContinues
        out = _framed(rest) + first[end:]
        early.first = None
        return bytes(out), len(first) - len(out)

    def from_worker(self, stream: int, *frames: bytes, ended: bool) -> bytes:
        """Frames of the worker's; what of the stream goes to the client now.

        Raises:
            StreamFault: FLOW_CONTROL_ERROR, the worker sends more than its window allows.
        """
        early = self._by_stream[stream]
        assert early.paced is not None
        early.over = early.over or ended
        early.kept += sum(map(data_size, frames))
        early.paced.frames.extend(frames)
        out = self._flow(stream, early)
        if early.kept > early.owed + early.shrunk:
            raise StreamFault(ErrorCode.FLOW_CONTROL_ERROR, "the worker overruns its window")
        if len(early.paced.frames) >= _FRAMES:
            early.paced.frames = deque(together(list(early.paced.frames)))
        return out

    def opened(self, stream: int, increment: int) -> int:
        """The client opened the stream's window; by how much it is open for the worker.

        Raises:
            StreamFault: FLOW_CONTROL_ERROR, over 2^31-1 (section 6.9.1).
        """
        early = self._by_stream[stream]
        assert early.paced is not None
        if early.paced.window + increment > BIGGEST_WINDOW:
            raise StreamFault(ErrorCode.FLOW_CONTROL_ERROR, "the stream's window overflows")
        early.paced.window += increment
        repaid = min(early.owed, increment)
        early.owed -= repaid
        self._catch_up(stream, early)
        return increment - repaid

    def resized(self, change: int) -> None:
        """The client's INITIAL_WINDOW_SIZE has changed, and open windows with it (6.9.2)."""
        for stream, early in list(self._by_stream.items()):
            if early.paced is not None:
                early.paced.window += change
                early.shrunk += max(0, -change)
                self._catch_up(stream, early)

    def _catch_up(self, stream: int, early: EarlyAnswer) -> None:
        out = self._flow(stream, early)
        if out:
            self._write(out)
        self._streams.due = self._streams.due or self._streams.retiring

    def _flow(self, stream: int, early: EarlyAnswer) -> bytes:
        assert early.paced is not None
        out = []
        for frame in early.paced.release():
            octets = data_size(frame)
            early.kept -= octets
            out.append(self._window.pass_on(frame, octets))
        self._let_go(stream, early)
        return b"".join(out)

    def _let_go(self, stream: int, early: EarlyAnswer) -> None:
        """The stream is like any other from here on, if it is."""
        assert early.paced is not None
        continues = early.answered and early.first is None and not early.owed
        if early.paced.frames or not (early.over or continues):
            return
        del self._by_stream[stream]
        state = self._streams.states.get(stream)
        if state is not None:
            self._streams.states[stream] = state & ~EARLY


_ENCODING: Final = b"grpc-encoding"


def _framed(message: bytes) -> bytes:
    """A message as gRPC writes it, uncompressed; nothing for an empty one."""
    if not message:
        return b""
    return b"\0" + len(message).to_bytes(4, "big") + message
