"""What the lifecycle tells, as metrics and log lines."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

from torpor_provisioner.errors import TorporError
from torpor_router.telemetry import catalogue
from torpor_router.telemetry.instruments import Instruments
from torpor_statemachine.events import Worked
from torpor_statemachine.lifecycle.satellite import Satellite, Transition
from torpor_statemachine.lifecycle.states import WakeKind

if TYPE_CHECKING:  # the SDK is imported where there are traces
    from torpor_router.telemetry.traces.wakes import WakeSpans

log = logging.getLogger("torpor.fleet")

_MOST_REASONS = 32
_WORD = re.compile(r"[a-z]+")


class FleetObserver:
    """Implements `torpor_statemachine.events.Observer`."""

    def __init__(self, instruments: Instruments, spans: WakeSpans | None = None) -> None:
        self._spans = spans
        self._wakes = instruments.histogram(catalogue.WAKE)
        self._memory_lost = instruments.counter(catalogue.MEMORY_LOST)
        self._transitions = instruments.counter(catalogue.TRANSITIONS)
        self._failures = instruments.counter(catalogue.PROVISIONER_FAILURES)
        self._reasons: set[str] = set()
        self.database_up = True  # a node starts no part of itself without it

    def transitioned(self, transition: Transition, satellite: Satellite) -> None:
        self._transitions.add(
            1, {"event": transition.event, "reason": self._word(transition.reason)}
        )
        log.info(
            "%s: %s to %s",
            transition.event,
            transition.source.value,
            transition.target.value,
            extra={
                "satellite": satellite.full_name,
                "actor": transition.actor,
                "reason": transition.reason,
                "epoch": transition.epoch,
            },
        )

    def woke(self, satellite: Satellite, kind: WakeKind, took: float) -> None:
        self._wakes.record(took, {"wake_kind": kind.value})
        log.info(
            "awake",
            extra={"satellite": satellite.full_name, "kind": kind.value, "took": round(took, 3)},
        )

    def worked(self, worked: Worked) -> None:
        if self._spans is not None:
            self._spans.worked(worked)

    def lost_memory(self, satellite: Satellite) -> None:
        self._memory_lost.add(1, {"provisioner": satellite.provisioner})
        log.warning(
            "told to hibernate, and booted anew: its memory was not kept",
            extra={"satellite": satellite.full_name},
        )

    def provisioner_failed(
        self, satellite: Satellite | None, call: str, error: TorporError
    ) -> None:
        self._failures.add(1, {"call": call, "code": error.code})
        of = {"satellite": satellite.full_name} if satellite is not None else {}
        log.warning("%s failed: %s", call, error, extra={**of, "code": error.code})

    def database(self, *, answers: bool) -> None:
        self.database_up = answers

    def _word(self, reason: str) -> str:
        """A label with few values: a reason's first word, and no more than so many of them."""
        found = _WORD.match(reason.lower())
        word = found[0] if found else ""
        if word not in self._reasons:
            if len(self._reasons) >= _MOST_REASONS:
                return "other"
            self._reasons.add(word)
        return word
