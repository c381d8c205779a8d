"""The one way to a provisioner from here: each call ends within its time, however its cloud is."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

from torpor_provisioner import deadline
from torpor_provisioner.contract import (
    Changeable,
    Checking,
    LimitedHibernation,
    Provisioner,
    Spec,
)
from torpor_provisioner.errors import (
    Capacity,
    Denied,
    Gone,
    Invalid,
    NotReady,
    Quota,
    StartFailed,
    Throttled,
    TimedOut,
    TorporError,
    Unanswered,
)
from torpor_statemachine import clock
from torpor_statemachine.config import FleetConfig
from torpor_statemachine.errors import CannotChange, ProvisionerBroke
from torpor_statemachine.events import Observer
from torpor_statemachine.lifecycle.satellite import Satellite

logger = logging.getLogger(__name__)

T = TypeVar("T")

# Failures after which the same call may succeed; of the last three the effect is not known
TRANSIENT_ERRORS = (NotReady, Capacity, Throttled, Unanswered, ProvisionerBroke)
PERMANENT_ERRORS = (Quota, Denied, Invalid, StartFailed)
KNOWN = (*TRANSIENT_ERRORS, *PERMANENT_ERRORS, Gone, CannotChange)

_ENDS_WITHIN = 1.0  # seconds for a call to end after it was cancelled


def _always() -> float:
    return float("inf")


class CloudCalls:
    """Calls to the provisioner `name`. Each has a time limit, is given a deadline
    (`torpor_provisioner.deadline`), and is told to the observer when it fails."""

    def __init__(
        self, name: str, provisioner: Provisioner, config: FleetConfig, observer: Observer
    ) -> None:
        self.name = name
        self._provisioner = provisioner
        self._config = config
        self._observer = observer

    def __repr__(self) -> str:
        return f"<CloudCalls {self.name}>"

    @property
    def can_change(self) -> bool:
        """Whether it can change a machine."""
        return isinstance(self._provisioner, Changeable)

    @property
    def longest_hibernation(self) -> timedelta | None:
        """How long it keeps a machine's memory; None: as long as ever."""
        kept = self._provisioner
        return kept.longest_hibernation if isinstance(kept, LimitedHibernation) else None

    @property
    def renews_hibernation(self) -> bool:
        """Whether a machine that was stopped for that is to hibernate anew."""
        kept = self._provisioner
        return isinstance(kept, LimitedHibernation) and kept.renews_hibernation

    async def check(self, spec: Spec) -> None:
        """Whether such a machine could be made. A cloud that cannot say so now is not waited for:
        the launch itself tells.

        Raises:
            Invalid: it never could.
        """
        cloud = self._provisioner
        if not isinstance(cloud, Checking):
            return
        try:
            await self.call("check", lambda _: cloud.check(spec))
        except Invalid:
            raise
        except TorporError:
            return

    async def call(
        self,
        what: str,
        made: Callable[[Provisioner], Awaitable[T]],
        *,
        satellite: Satellite | None = None,
        sure: Callable[[], float] = _always,
    ) -> T:
        """Make one call. `sure` says for how many seconds it may still take effect; the call is
        cancelled when there are none left.

        Raises:
            ProvisionerError: as the cloud told, or TimedOut.
            ProvisionerBroke: it failed otherwise, or was called off; its effect is not known.
        """
        try:
            return await self._ended(what, made, sure)
        except KNOWN as error:
            self._observer.provisioner_failed(satellite, what, error)
            raise
        except Exception as error:
            logger.exception("%s of %r failed", what, satellite or self)
            broke = ProvisionerBroke(f"{what}: {type(error).__name__}")
            self._observer.provisioner_failed(satellite, what, broke)
            raise broke from error

    async def _ended(
        self, what: str, made: Callable[[Provisioner], Awaitable[T]], sure: Callable[[], float]
    ) -> T:
        limit = self._limit(what)
        ends = clock.now() + limit

        def left() -> float:
            return min(ends - clock.now(), sure())

        with deadline.given(left) as given:
            task = asyncio.ensure_future(made(self._provisioner))
            task.add_done_callback(_heard)  # its caller may be cancelled just then
            try:
                while (pause := left()) > 0:
                    done, _ = await asyncio.wait((task,), timeout=pause)
                    if done:
                        return task.result()
            finally:
                given.pass_now()
                await self._cancelled(what, task)
        raise _given_up(what, limit, in_time=clock.now() < ends)

    def _limit(self, what: str) -> float:
        match what:
            case "observe":
                return self._config.look
            case "launch" | "update":
                return self._config.long_call
            case _:
                return self._config.call

    async def _cancelled(self, what: str, task: asyncio.Future[T]) -> None:
        if task.done():
            return
        task.cancel()
        await asyncio.wait((task,), timeout=_ENDS_WITHIN)
        if not task.done():
            logger.error("%s of %s does not end although it was cancelled", what, self.name)


def _given_up(what: str, limit: float, *, in_time: bool) -> TorporError:
    if in_time:
        return ProvisionerBroke(f"{what}: called off, for its claim may be lost")
    return TimedOut(f"{what}: no answer within {limit:g} s")


def _heard(task: asyncio.Future[T]) -> None:
    """Of a call that was given up, nobody waits for the outcome."""
    if not task.cancelled():
        task.exception()
