"""Refusals, of the door and of the control API, as one metric and as log lines."""

from __future__ import annotations

import logging

from opentelemetry.metrics import Counter

from torpor_provisioner.errors import TorporError
from torpor_router.rate_limited_log import RateLimitedLog


class RefusalLog:
    """Counts in a counter that all share, and writes to a log of its own."""

    def __init__(self, counter: Counter, log: logging.Logger) -> None:
        self._counter = counter
        self._log = RateLimitedLog(log)

    def refused(self, error: TorporError, peer: str, **names: str) -> None:
        self._counter.add(1, {"code": error.code})
        labels = {name: value for name, value in names.items() if value}
        self._log.info(
            "refused", {"code": error.code, "cause": error.message, "peer": peer, **labels}
        )


class ControlObserver:
    """Implements `control.needs.Observer`."""

    def __init__(self, counter: Counter) -> None:
        self._refusals = RefusalLog(counter, logging.getLogger("torpor.control"))

    def refused(self, error: TorporError, org: str, caller: str, peer: str) -> None:
        self._refusals.refused(error, peer, org=org, caller=caller)
