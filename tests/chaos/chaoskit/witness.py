"""What EC2's own log and those of its workers say, in the records' words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chaoskit.records import LATE, Answer, Call, Life, Look, Name
from chaoskit.worker import BOOTED, CLOSED, OPENED
from torpor_provisioner.ec2.actions import Action
from torpor_provisioner.ec2.machines import STATES

MOVES = {Action.START_INSTANCES: Name.WAKE, Action.STOP_INSTANCES: Name.SLEEP}
SENT = 0.03  # seconds within which what a process was sending when it was stopped has arrived, once
# it goes on

Entry = Mapping[str, Any]  # of the faithful EC2's log


@dataclass(slots=True)
class Stream:
    """One that was open on a worker."""

    call: str
    opened: float
    closed: float = float("inf")

    def covers(self, moment: float) -> bool:
        return self.opened < moment < self.closed


def streams(log: str) -> list[Stream]:
    """A worker's log; a boot ends what the process before it left open."""
    told: list[Stream] = []
    still: dict[str, Stream] = {}
    for line in log.splitlines():
        at, event, *calls = line.split()
        if event == BOOTED:
            for stream in still.values():
                stream.closed = float(at)
            still.clear()
        elif event == OPENED:
            still[calls[0]] = Stream(calls[0], float(at))
            told.append(still[calls[0]])
        elif event == CLOSED:
            still.pop(calls[0]).closed = float(at)
        else:
            raise ValueError(f"a worker wrote {line!r}")
    return told


def calls(
    log: Sequence[Entry],
    names: Mapping[str, str],
    lives: Mapping[str, Life],
    open_on: Mapping[str, Sequence[Stream]],
) -> Iterator[Call]:
    """The starts and stops that nodes asked for; `names` are the satellites' by instance."""
    for entry in log:
        name, life = MOVES.get(entry["action"]), lives.get(entry["caller"])
        if name is None or life is None:
            continue
        answer = Answer.REFUSED if entry["code"] else Answer.LOST if entry["lost"] else Answer.OK
        at = entry["at"]
        for instance in entry["instances"]:
            ref, effect = names[instance], instance in entry["effective"]
            slept = effect and name is Name.SLEEP
            cut = tuple(each.call for each in open_on[ref] if each.covers(at)) if slept else ()
            yield Call(at, ref, life.pid, name, answer, effect, made(life, at), at, cut)


def made(life: Life, at: float) -> float:
    """When the caller had decided on a call that arrived at `at`, as far as can be known: what
    comes right after a stop of its process may have been decided on before."""
    for pause in life.pauses:
        if pause.lasted > LATE and pause.ended <= at < pause.ended + SENT:
            return pause.began
    return at


def looks(
    log: Sequence[Entry], names: Mapping[str, str], lives: Mapping[str, Life]
) -> Iterator[Look]:
    """What nodes were shown."""
    for entry in log:
        life = lives.get(entry["caller"])
        if life is None or entry["lost"]:
            continue
        for instance, phase in entry["shown"].items():
            yield Look(entry["at"], names[instance], life.pid, STATES[phase])


def troubles(log: Sequence[Entry], lives: Mapping[str, Life]) -> Iterator[str]:
    """What went wrong with nodes' calls, once for each time."""
    for entry in log:
        if entry["caller"] in lives and (entry["code"] or entry["lost"]):
            what = entry["code"] or "its answer was lost"
            yield f"{entry['action']}: {what}"


def read_streams(log: Path) -> list[Stream]:
    return streams(log.read_text()) if log.exists() else []
