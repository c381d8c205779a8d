"""What a run leaves behind: the cloud's own log, the clients' own records, and the faults.

A machine's `ref` here is its satellite's name, whatever the cloud calls it.

All times are seconds of one clock, `time.monotonic`, which all processes of a machine share. Only
`claimed`, `history` and what is believed in `ends` come from Torpor's database.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID

LATE = 3.0  # seconds from a caller's decision to its call's arrival
UNHEARD = 3.0  # seconds after a failover until each node's heartbeat has told it what is lost
ASTRAY = 40.0  # seconds until each machine that rests was compared with the cloud, beside those in
# which Postgres is away or this process stands still


class Name(StrEnum):
    """The calls that move a machine."""

    WAKE = "wake"
    SLEEP = "sleep"


class Answer(StrEnum):
    """What the cloud made of a call."""

    OK = "ok"
    REFUSED = "refused"  # without any effect, and the caller was told so
    LOST = "lost"  # done, and the caller never heard of it
    GIVEN_UP = "given up"  # not done: the cloud was long about it, until its time was up


@dataclass(frozen=True, slots=True)
class Call:
    """A call that reached the cloud. `effect`: the machine was moved by it.

    `pid` is the caller's process. The caller decided on it at `made`, it arrived at `arrived`, and
    what it did it did at `at`.
    """

    at: float
    ref: str
    pid: int
    name: Name
    answer: Answer
    effect: bool
    made: float
    arrived: float
    cut: tuple[str, ...] = ()  # streams that were open on the machine when it went to sleep

    @property
    def late(self) -> bool:
        """Whether the caller must have been stopped after it had decided; see docs/chaos.md."""
        return self.arrived - self.made > LATE


@dataclass(frozen=True, slots=True)
class Look:
    """What a caller was shown of a machine."""

    at: float
    ref: str
    pid: int
    state: str


@dataclass(slots=True)
class Attempt:
    """One gRPC call to one node. `status` is None while it goes on, "OK" at a good end."""

    call: str
    node: int
    began: float
    ended: float | None = None
    status: str | None = None
    detail: str = ""
    held: bool = False  # the door says that it waited for a wake
    abandoned: bool = False  # by the client, which had waited long enough
    turned_away: bool = False  # its connection ended in order, and nobody had taken it up

    def covers(self, moment: float) -> bool:
        return self.began < moment and (self.ended is None or self.ended > moment)


@dataclass(slots=True)
class Request:
    """What a client wants done, over as many attempts as it takes within its budget."""

    id: str
    ref: str
    shape: str  # "unary" or "stream"
    budget: float
    began: float
    ended: float | None = None
    done: bool = False
    attempts: list[Attempt] = field(default_factory=list)

    @property
    def took(self) -> float:
        return (self.ended if self.ended is not None else float("inf")) - self.began

    @property
    def first(self) -> bool:
        """Whether it met a satellite that did not run."""
        return any(attempt.held for attempt in self.attempts)


@dataclass(slots=True)
class Span:
    began: float
    ended: float = float("inf")

    @property
    def lasted(self) -> float:
        return self.ended - self.began

    def meets(self, since: float, until: float) -> bool:
        return self.began < until and self.ended > since


@dataclass(slots=True)
class Life:
    """One process of one node, from its start to its end."""

    node: int
    pid: int
    began: float
    served: float | None = None  # when it first answered
    ended: float | None = None
    killed: bool = False
    name: str = ""  # as the process calls itself to a cloud that asks
    pauses: list[Span] = field(default_factory=list)
    cuts: list[Span] = field(default_factory=list)  # of its link to Postgres

    def cut_off(self, since: float, until: float, at_least: float = 0.0) -> bool:
        return any(each.meets(since, until) and each.lasted >= at_least for each in self.cuts)

    def paused(self, since: float, until: float, at_least: float = 0.0) -> bool:
        return any(each.meets(since, until) and each.lasted >= at_least for each in self.pauses)


@dataclass(frozen=True, slots=True)
class LostRow:
    """One of the log of transitions that a failover lost."""

    id: int
    satellite_id: UUID
    event: str
    ref: str = ""


@dataclass(slots=True)
class Lost:
    """A failover: what was committed from `began` to `ended` is lost.

    What it lost of the log of transitions stood after the row `after`; by the row `until` it was
    found out what machines do in truth.
    """

    began: float
    ended: float = float("inf")
    after: int = 0
    until: int = 1 << 62
    rows: list[LostRow] = field(default_factory=list)


@dataclass(slots=True)
class Records:
    calls: list[Call] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    lives: list[Life] = field(default_factory=list)
    outages: list[Span] = field(default_factory=list)  # of Postgres
    lost: list[Lost] = field(default_factory=list)  # by failovers
    stalls: list[Span] = field(default_factory=list)  # of the process that keeps these records
    faults: Counter[str] = field(default_factory=Counter)
    unreached: list[str] = field(default_factory=list)  # refs, when all was over
    claimed: list[str] = field(default_factory=list)  # refs still in a passing state
    history: dict[str, list[str]] = field(default_factory=dict)  # ref: events of the log
    ends: dict[str, tuple[str, str]] = field(default_factory=dict)  # ref: believed, and true
    served: list[tuple[str, str]] = field(default_factory=list)  # by which machine which call
    complaints: list[str] = field(default_factory=list)  # tracebacks in the nodes' logs
    broken: list[tuple[float, str]] = field(default_factory=list)  # when and which machine


class Index:
    """The records by machine, by process and by call; made once, when all is over."""

    def __init__(self, records: Records) -> None:
        self.records = records
        self.calls: dict[str, list[Call]] = defaultdict(list)
        self.requests: dict[str, list[Request]] = defaultdict(list)
        self.attempts: dict[str, Attempt] = {}
        self.refs: dict[str, str] = {}  # by attempt, which machine it was for
        self.lives = {life.pid: life for life in records.lives}
        self.of_node: dict[int, list[Life]] = defaultdict(list)
        self._looks: dict[tuple[str, int], list[Look]] = defaultdict(list)
        for call in records.calls:
            self.calls[call.ref].append(call)
        for request in records.requests:
            self.requests[request.ref].append(request)
            self.attempts.update({attempt.call: attempt for attempt in request.attempts})
            self.refs.update({attempt.call: request.ref for attempt in request.attempts})
        for life in records.lives:
            self.of_node[life.node].append(life)
        for look in records.looks:
            self._looks[look.ref, look.pid].append(look)
        self._found_out = [
            lost.ended + ASTRAY + _lasted(records, lost.ended, lost.ended + 3 * ASTRAY)
            for lost in records.lost
        ]
        self._broken = self._mended()
        self._touched = [
            {row.ref for row in lost.rows}
            | {c.ref for c in records.calls if lost.began <= c.made <= lost.ended + UNHEARD}
            for lost in records.lost
        ]

    def last_look(self, call: Call) -> Look | None:
        """What the caller had last been shown of the machine."""
        looks = self._looks[call.ref, call.pid]
        at = bisect_left(looks, call.made, key=lambda look: look.at)
        return looks[at - 1] if at else None

    def astray(self, ref: str, since: float, until: float) -> bool:
        """Whether what the database says of the machine may be wrong, for a failover lost a
        change of it, or came in the middle of one; or for the machine itself was broken."""
        if any(span.meets(since, until) for span in self._broken.get(ref, ())):
            return True
        return any(
            since < self._found_out[number] and until > lost.began and ref in self._touched[number]
            for number, lost in enumerate(self.records.lost)
        )

    def breaks(self, ref: str) -> list[float]:
        """When the machine was broken: it ended, and no node had asked for it."""
        return [at for at, broken in self.records.broken if broken == ref]

    def _mended(self) -> dict[str, list[Span]]:
        """From each break of a machine until a request that came later was answered."""
        spans: dict[str, list[Span]] = defaultdict(list)
        for at, ref in self.records.broken:
            answered = (
                attempt.ended
                for request in self.requests[ref]
                for attempt in request.attempts
                if attempt.status == "OK" and attempt.ended is not None and attempt.began > at
            )
            found_out = at + ASTRAY + _lasted(self.records, at, at + ASTRAY)
            spans[ref].append(
                Span(at - UNHEARD, max(found_out, min(answered, default=float("inf"))))
            )
        return spans

    def lost_claim(self, call: Call) -> bool:
        """Whether the claim that the call was made under was lost by a failover, of which its
        node had not heard yet."""
        claims = {call.name.value, "took_over"}
        return any(
            lost.began <= call.made <= lost.ended + UNHEARD
            and any(row.ref == call.ref and row.event in claims for row in lost.rows)
            for lost in self.records.lost
        )

    def failed_over(self, since: float, until: float) -> bool:
        return any(lost.began < until and lost.ended > since for lost in self.records.lost)

    def known_until(self, request: Request) -> float:
        """When the last node must have heard that nobody waits any more: one that is paused hears
        it when it goes on."""
        if request.ended is None:
            return float("inf")
        ends = [request.ended]
        for attempt in request.attempts:
            if attempt.ended is not None and (life := self.life_at(attempt.node, attempt.ended)):
                ends += [
                    pause.ended + UNHEARD
                    for pause in life.pauses
                    if pause.meets(attempt.began, attempt.ended + UNHEARD)
                ]
        return max(ends)

    def life_at(self, node: int, moment: float) -> Life | None:
        for life in self.of_node[node]:
            if life.began <= moment and (life.ended is None or life.ended > moment):
                return life
        return None

    def lives_within(self, node: int, since: float, until: float) -> list[Life]:
        return [
            life
            for life in self.of_node[node]
            if life.began < until and (life.ended is None or life.ended > since)
        ]

    def database_away(self, since: float, until: float, at_least: float = 0.0) -> bool:
        return any(
            span.meets(since, until) and span.lasted >= at_least for span in self.records.outages
        )


def _lasted(records: Records, since: float, until: float) -> float:
    """Seconds in which Postgres was away, or the cloud stood still with its process."""
    spans = [*records.outages, *records.stalls]
    return sum(
        min(span.ended, until) - max(span.began, since)
        for span in spans
        if span.meets(since, until)
    )
