"""Why a satellite is awake or asleep, in a few sentences."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from torpor_provisioner.contract import SleepKind
from torpor_router.control.messages import TransitionView
from torpor_router.durations import ago, duration
from torpor_statemachine.errors import recall
from torpor_statemachine.lifecycle.keeping import in_words
from torpor_statemachine.lifecycle.satellite import Satellite, Transition
from torpor_statemachine.lifecycle.states import State

_Step = TypeVar("_Step", Transition, TransitionView)

STEPS = 20  # of its log that are looked at
_COMES_BACK = {
    SleepKind.HIBERNATED: "resumes its memory",
    SleepKind.STOPPED: "starts it from its disk, its memory is not kept",
    None: "starts it",
}
# A state's reason stands with the step that led towards it.
_TOWARDS = {State.RUNNING: (State.WAKING, State.LAUNCHING), State.ASLEEP: (State.SLEEPING,)}


def explained(satellite: Satellite, log: Sequence[Transition], now: datetime) -> str:
    """`log` is the newest first; its first `STEPS` will do."""
    sentences = [_state(satellite, log, now)]
    match satellite.state:
        case State.RUNNING:
            sentences.append(_awake(satellite, now))
        case State.ASLEEP:
            sentences.append(_next_wake(satellite))
        case State.WAKING | State.LAUNCHING if satellite.usual_wake:
            sentences.append(f"A wake takes up to {duration(satellite.usual_wake)} usually")
    stands = satellite.failure if satellite.state is not State.RUNNING else None
    if satellite.change_pending:
        sentences.append("A change of its machine waits until it is stopped")
    if stands := satellite.obstacle or stands:
        error = recall(stands)
        sentences += [f"{error.code} {error.message}", error.remedy]
    return " ".join(f"{each}." for each in sentences)


def _state(satellite: Satellite, log: Sequence[Transition], now: datetime) -> str:
    how = f" ({satellite.sleep_kind})" if satellite.sleep_kind else ""
    text = f"{satellite.full_name} is {satellite.state}{how} for {ago(satellite.state_since, now)}"
    arrived = arrival(log, satellite.state)
    towards = _TOWARDS.get(satellite.state, ())
    begun = next((step for step in log if step.target in towards), arrived)
    if begun is None or not (begun.actor or begun.reason):
        return text
    text += f": {begun.event} by {begun.actor or 'no one known'}"
    text += f" ({begun.reason})" if begun.reason else ""
    if arrived is not None and arrived.took is not None:
        kind = f", {arrived.wake_kind}" if arrived.wake_kind else ""
        text += f", which took {duration(arrived.took)}{kind}"
    return text


def arrival(log: Sequence[_Step], state: State) -> _Step | None:
    """The step that brought it into `state`: not one that changed something of it there."""
    steps = [step for step in log if step.target is state]
    return next((step for step in steps if step.source is not state), steps[0] if steps else None)


def _awake(satellite: Satellite, now: datetime) -> str:
    after = duration(satellite.sleep_after)
    if satellite.idle_since is not None and satellite.awake_until and satellite.awake_until > now:
        until = f"{satellite.awake_until:%Y-%m-%d %H:%M} UTC"
        return f"It is kept awake until {until} by its schedule, {satellite.schedule}"
    if satellite.idle_since is None:
        what = in_words(satellite.keepers) or "streams that have just been opened"
        return f"It is kept awake by {what}. It will sleep {after} after the last of them has ended"
    left = satellite.idle_since + satellite.sleep_after - now
    when = f"in {duration(left)}" if left > timedelta(seconds=1) else "any moment now"
    return f"No stream has been open for {ago(satellite.idle_since, now)}. It will sleep {when}"


def _next_wake(satellite: Satellite) -> str:
    kind = SleepKind.STOPPED if satellite.stops_next else satellite.sleep_kind
    text = f"The next build wakes it, which {_COMES_BACK[kind]}"
    if satellite.usual_wake:
        text += f" and takes up to {duration(satellite.usual_wake)} usually"
    if satellite.schedule:
        text += f". So does its schedule, {satellite.schedule}"
    return text
