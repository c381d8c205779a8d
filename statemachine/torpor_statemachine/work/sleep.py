"""sleeping: put the machine to sleep, unless it was wanted again before it was told to."""

from __future__ import annotations

import asyncio

from torpor_provisioner.contract import MachineState, Observed, SleepKind
from torpor_provisioner.errors import Gone, NotReady
from torpor_statemachine import clock
from torpor_statemachine.errors import SleepStuck
from torpor_statemachine.lifecycle.policy import sleep_kind
from torpor_statemachine.lifecycle.satellite import Satellite
from torpor_statemachine.postgres.pool import DatabaseAway
from torpor_statemachine.work.claimed_work import OutcomeUnknown, Work
from torpor_statemachine.work.clouds import PERMANENT_ERRORS, TRANSIENT_ERRORS

_RENEWED = "stopped: its memory was kept for as long as the cloud keeps it"


class _Wanted(Exception):
    """It runs, and somebody wants it: it is not put to sleep."""


async def sleep(work: Work) -> None:
    """Ends in `slept`, `sleep_abandoned`, `sleep_failed` or `lost`; or in nothing, when time is up
    and the machine is neither awake nor asleep: then any node goes on with it."""
    called_before = work.satellite.sleep_called
    if not work.newly_claimed:
        await work.settled_server()
    how = _how(work.satellite)
    try:
        seen = await _until_asleep(work, how, call_first=work.newly_claimed or not called_before)
    except _Wanted:
        await work.complete(work.transitions.sleep_abandoned)
    except Gone as error:
        await work.complete(work.transitions.lost, error)
    except (SleepStuck, *PERMANENT_ERRORS) as error:
        await work.complete(work.transitions.sleep_failed, error)
    else:
        details = (_RENEWED if work.satellite.stops_next else "", seen.detail)
        detail = "; ".join(filter(None, details))
        await work.complete(work.transitions.slept, seen.sleep_kind or how, detail)


def _how(satellite: Satellite) -> SleepKind:
    """A machine whose wake has failed, or that is to be changed, is stopped: its memory is no
    good, or would be in the way. So is one whose cloud would forget it otherwise."""
    stops = satellite.failure is not None or satellite.wanted is not None or satellite.stops_next
    return SleepKind.STOPPED if stops else sleep_kind(satellite)


async def _commit(work: Work) -> None:
    """Before the first call: a machine that runs may be wanted by now. One whose worker never
    answered is stopped all the same.

    Raises:
        _Wanted: it is, or the claim is lost.
    """
    if work.satellite.failure is not None:
        return
    if not await _committed(work):
        raise _Wanted


async def _committed(work: Work) -> bool:
    while True:
        try:
            return await work.transitions.commit_to_sleep(work.satellite)
        except DatabaseAway:
            await asyncio.sleep(clock.jittered(work.config.poll))


class _Calls:
    """The sleep calls of one piece of work; `made`: one may have its effect."""

    def __init__(self, work: Work, how: SleepKind) -> None:
        self._work = work
        self._how = how
        self._unsure_until: float | None = None  # when the cloud has shown what became of one
        self.made = False

    async def make(self, ref: str) -> None:
        """Raises: as the cloud does, and _Wanted: it was not made, and somebody waits."""
        if not self.made:  # else a call of our own may yet show its effect
            await _commit(self._work)
        before, self.made = self.made, True
        try:
            await self._work.call("sleep", lambda provisioner: provisioner.sleep(ref, self._how))
        except NotReady:
            self.made = before  # it says that nothing was done
            raise
        except TRANSIENT_ERRORS:
            # Its deadline has passed with it: what it has done by now is all that it will do
            self._unsure_until = clock.now() + self._work.config.patience
            raise
        self._unsure_until = None

    async def pause(self, seconds: float) -> None:
        """While none was made nobody has to wait for the sleep: a machine that is too young to be
        hibernated may refuse it for minutes."""
        await self._look_back()
        if self.made or self._work.satellite.failure is not None:
            await self._work.pause(seconds)
            return
        ends = clock.now() + seconds
        while (left := min(ends - clock.now(), self._work.left())) > 0:
            if not await _committed(self._work):
                return
            await self._work.pause(min(left, self._work.config.poll))

    async def _look_back(self) -> None:
        """A machine that runs when the cloud has had its time is one to which nothing was done."""
        if self._unsure_until is None or clock.now() < self._unsure_until:
            return
        try:
            seen = await self._work.look()
        except (*TRANSIENT_ERRORS, *PERMANENT_ERRORS):
            return
        if seen.state is MachineState.RUNNING:
            self.made, self._unsure_until = False, None


async def _until_asleep(work: Work, how: SleepKind, *, call_first: bool) -> Observed:
    """The machine, once it sleeps.

    Raises:
        _Wanted: it runs, and somebody wants it.
        Gone: there is no machine any more.
        SleepStuck: it was told to sleep and runs on.
        OutcomeUnknown: time is up, and it neither runs nor sleeps.
        ProvisionerError: the cloud will not.
    """
    ref = work.satellite.ref
    assert ref is not None
    retry = work.retry()
    must_call = call_first
    seen: Observed | None = None
    calls, called = _Calls(work, how), not call_first  # by whom this was taken over from
    while work.left() > 0:
        call, must_call = must_call, False  # whatever becomes of it, the machine shows it
        if call and work.left() <= work.config.patience + 2 * work.config.longest_look:
            break  # no time to see what becomes of it
        try:
            if call:
                seen = None  # what was seen before says nothing any more
                await calls.make(ref)
            seen = await _seen_at_rest(work, called=call or called)
            called = False
        except TRANSIENT_ERRORS:
            await calls.pause(retry.pause())
            continue
        if seen.state is MachineState.ASLEEP:
            return seen
        if seen.state is MachineState.GONE:
            raise Gone(seen.detail)
        must_call = seen.state is MachineState.RUNNING
    if seen is None or seen.state is not MachineState.RUNNING:
        # It must not be called awake, for it may fall asleep yet
        raise OutcomeUnknown("it neither runs nor sleeps")
    raise SleepStuck(seen.detail)


async def _seen_at_rest(work: Work, *, called: bool) -> Observed:
    try:
        return await _rest(work, called=called)
    except PERMANENT_ERRORS as error:  # the cloud will not show it: that does not mean it is awake
        raise OutcomeUnknown("the cloud does not show it") from error


async def _rest(work: Work, *, called: bool) -> Observed:
    """The machine when it has come to rest, in sleep or not; or when time is up."""
    called_at = clock.now()
    pause = work.config.first_look
    while True:
        seen = await work.look()
        runs_on = seen.state in (MachineState.RUNNING, MachineState.PENDING)
        if seen.state in (MachineState.ASLEEP, MachineState.GONE) or work.left() <= 0:
            return seen
        # What the cloud has accepted it may show a moment later
        if runs_on and not (called and clock.now() - called_at < work.config.patience):
            return seen
        await work.pause(clock.jittered(pause))
        pause = min(pause * 1.5, work.config.longest_look)
