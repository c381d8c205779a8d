"""What a person is told of a satellite: where it stands, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from torpor_router.cli.output import Column, Output, shown
from torpor_router.control.explaining import arrival
from torpor_router.control.messages import SatelliteView, TransitionView
from torpor_router.durations import ago, duration
from torpor_statemachine.errors import in_short, recall
from torpor_statemachine.lifecycle.states import State

LIST = ("name", "state", "for", Column("how", wraps=True), "arch", "size", "sleeps after")
HISTORY = (
    "at",
    "event",
    "state",
    "by",
    "why",
    Column("took", right=True),
    Column("detail", wraps=True),
)

# A state's reason stands with the step that led towards it.
_TOWARDS = {
    State.RUNNING: (State.WAKING, State.LAUNCHING),
    State.ASLEEP: (State.SLEEPING,),
}


def listed(satellite: SatelliteView, now: datetime | None = None) -> Sequence[object]:
    """A row of `satellite ls`, under `LIST`."""
    return (
        satellite.name,
        satellite.state,
        ago(satellite.state_since, now),
        how(satellite, now),
        satellite.arch,
        satellite.size,
        satellite.sleep_after,
    )


def how(satellite: SatelliteView, now: datetime | None = None) -> str:
    """What the state alone does not say: hibernated or stopped, idle or building, failed why."""
    parts = [settled(satellite)]
    if satellite.state is State.RUNNING:
        idle = satellite.idle_since
        parts.insert(0, f"idle for {ago(idle, now)}" if idle else kept_by(satellite))
    return "; ".join(filter(None, parts))


def kept_by(satellite: SatelliteView) -> str:
    """Whose streams keep it awake, in short; `satellite why` says it all."""
    callers = dict.fromkeys(each.caller for keeper in satellite.keepers for each in keeper.open)
    streams = sum(keeper.streams for keeper in satellite.keepers)
    if not streams:
        return "streams are open"
    number = "1 stream" if streams == 1 else f"{streams} streams"
    return f"{number} of {', '.join(callers)}" if callers else number


def without_ages(satellites: Sequence[SatelliteView]) -> list[SatelliteView]:
    """What is new in a list when it changes: not how long a silence lasts."""
    return [replace(each, keepers=()) for each in satellites]


def settled(satellite: SatelliteView) -> str:
    """The part of `how` that a command has brought about: how it sleeps, what is still to come,
    why it failed."""
    parts = []
    if satellite.state is State.ASLEEP and satellite.sleep_kind:
        parts.append(str(satellite.sleep_kind))
    if satellite.change_pending:
        parts.append("a change waits until it is stopped")
    if stands := satellite.obstacle or satellite.failure:
        parts.append(in_short(stands))
    return "; ".join(parts)


def inspected(
    satellite: SatelliteView, log: Sequence[TransitionView], now: datetime | None = None
) -> Mapping[str, object]:
    """The fields of `satellite inspect`."""
    now = now or datetime.now(UTC)
    fields: dict[str, object] = {
        "satellite": f"{satellite.org}/{satellite.name}",
        "state": satellite.state,
        "since": f"{shown(satellite.state_since)} ({ago(satellite.state_since, now)})",
    }
    if text := how(satellite, now):
        fields["how"] = text
    if because := why(satellite, log, now):
        fields["why"] = because
    if stands := satellite.obstacle or satellite.failure:
        fields["what to do"] = recall(stands).remedy
    return fields | {
        **_labels(satellite),
        "architecture": satellite.arch,
        "size": satellite.size,
        "sleeps": f"after {duration(satellite.sleep_after)} idle, mode {satellite.sleep_mode}",
        **({"schedule": satellite.schedule} if satellite.schedule else {}),
        "worker": satellite.address,
        "machine": f"{satellite.provisioner} {satellite.ref or ''}".rstrip(),
        "generation": satellite.generation,
        "made": satellite.created_at,
        "id": satellite.id,
    }


def _labels(satellite: SatelliteView) -> Mapping[str, object]:
    labels = [f"{key}={value}" for key, value in sorted(satellite.labels.items())]
    return {"labels": " ".join(labels)} if labels else {}


def why(satellite: SatelliteView, log: Sequence[TransitionView], now: datetime) -> str:
    """Who brought it into its state, and what for; nothing if the log does not say."""
    if satellite.state is None:
        return ""
    wanted = (satellite.state, *_TOWARDS.get(satellite.state, ()))
    arrived = arrival(log, satellite.state)
    begun = next((step for step in log if step.target in wanted[1:]), arrived)
    if begun is None or not (begun.reason or begun.actor):
        return ""
    text = f"{begun.event}: {begun.reason or 'no reason given'}"
    if begun.actor:
        text += f", by {begun.actor}"
    if arrived and arrived.took is not None:
        kind = f" ({arrived.wake_kind})" if arrived.wake_kind else ""
        text += f", took {duration(arrived.took)}{kind}"
    return f"{text}, {ago(begun.at, now)} ago"


def tell_why(summary: str, satellite: SatelliteView, output: Output) -> None:
    """Print what `control.explaining` says of a satellite."""
    if output.as_json:
        output.json({"summary": summary, "satellite": satellite})
    else:
        output.paragraph(summary)


def tell_inspected(satellite: SatelliteView, log: Sequence[TransitionView], output: Output) -> None:
    """Print one satellite, and its last steps."""
    if output.as_json:
        output.json({"satellite": satellite, "transitions": log})
        return
    output.record(inspected(satellite, log))
    output.say("")
    _tell_steps(log, output)


def tell_history(log: Sequence[TransitionView], output: Output) -> None:
    if output.as_json:
        output.json(log)
    else:
        _tell_steps(log, output)


def _tell_steps(log: Sequence[TransitionView], output: Output) -> None:
    output.table(HISTORY, map(remembered, log), empty="Nothing has happened to it yet.")


def tell_state(satellite: SatelliteView, output: Output) -> None:
    """Print where one satellite stands now, in a line."""
    text = settled(satellite)
    state = f"{satellite.state} ({text})" if text else f"{satellite.state}"
    output.answer(satellite, f"{satellite.org}/{satellite.name} is {state}")


def remembered(step: TransitionView) -> Sequence[object]:
    """A row of `satellite history`, under `HISTORY`."""
    kind = f"{step.wake_kind}: " if step.wake_kind else ""
    return (
        step.at,
        step.event,
        step.target if step.source is step.target else f"{step.source} > {step.target}",
        step.actor,
        step.reason,
        step.took,
        f"{kind}{step.detail}".removesuffix(": "),
    )
