"""What all connections of one process share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from torpor_router.dialects.last_answers import LastAnswers
from torpor_router.h2.fields import Field
from torpor_router.limits import Limits
from torpor_router.relay.events import Counts, Observer, Unobserved, Waiting
from torpor_router.relay.held import Holds
from torpor_router.relay.telling import Teller
from torpor_router.routing import Directory
from torpor_statemachine.gate import Gate
from torpor_statemachine.lifecycle.states import WakeKind

# The fields that a worker gets of a request that has waited, as telemetry wants them
Traced = Callable[[Waiting, WakeKind], list[Field]]


class Relay:
    """`tick` rises a few times a second: a decision remembered under an older tick is asked for
    anew, so that a revoked token stops new streams without a look-up for each."""

    __slots__ = (
        "answers",
        "callers",
        "clock",
        "counts",
        "directory",
        "domain",
        "gate",
        "holds",
        "limits",
        "observer",
        "teller",
        "tick",
        "traced",
        "wake_progress",
    )

    def __init__(
        self,
        gate: Gate,
        directory: Directory,
        limits: Limits,
        clock: Callable[[], float],
        *,
        observer: Observer | None = None,
        domain: str = "",
        answers: LastAnswers | None = None,
        wake_progress: bool = True,
        traced: Traced | None = None,
    ) -> None:
        self.gate = gate
        self.directory = directory
        self.limits = limits
        self.clock = clock
        self.answers = answers  # of workers, to who only looks; None: such calls wake
        self.domain = domain  # under which host names name satellites
        self.observer = observer or Unobserved()
        self.counts = Counts()
        self.holds = Holds(limits)
        self.callers: Counter[tuple[str, str]] = Counter()  # connections by org and caller
        self.tick = 0
        self.wake_progress = wake_progress  # is told where a call's answer can tell it
        self.traced = traced  # None: as the client sent them
        self.teller = Teller()
