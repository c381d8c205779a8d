"""What a command waits for, and how it waits."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from torpor_provisioner.errors import Status
from torpor_router.cli.failures import Failed
from torpor_router.cli.interrupting import goes_on
from torpor_router.cli.output import Output
from torpor_router.cli.progress import last_of, showing
from torpor_router.durations import duration
from torpor_statemachine.lifecycle.states import TRANSIENT_STATES, State

if TYPE_CHECKING:
    from torpor_router.cli.client import Client
    from torpor_router.control.messages import ProgressView, SatelliteView


def until_the_end(
    views: Iterable[ProgressView], output: Output, shows: str = "satellite follow {name}"
) -> SatelliteView:
    """Show how far it is; the satellite as it was seen last. Interrupting it stops nothing.

    `shows` is the command that tells how far it is.
    """
    seen = _Seen(views)
    try:
        with showing(silent=output.as_json) as shown:
            last = last_of(seen, shown)
    except KeyboardInterrupt:
        name = seen.last.satellite.name if seen.last is not None else "NAME"
        output.remark(goes_on(shows.format(name=name)))
        raise
    assert last is not None, "a stream begins with a message"
    if not output.as_json and (took := _took(seen.first, last)):
        output.remark(took)
    return last.satellite


class _Seen:
    """Remembers the first and the last of what it gives on."""

    def __init__(self, views: Iterable[ProgressView]) -> None:
        self._views = views
        self.first: ProgressView | None = None
        self.last: ProgressView | None = None

    def __iter__(self) -> Iterator[ProgressView]:
        for view in self._views:
            self.first, self.last = self.first or view, view
            yield view


def _took(first: ProgressView | None, last: ProgressView) -> str:
    """How long a wake took that was waited for, and what kind it was."""
    now = last.satellite
    if first is None or first.satellite.state is State.RUNNING or now.state is not State.RUNNING:
        return ""
    kind = f", {now.wake_kind}" if now.wake_kind else ""
    usual = f"; usually up to {duration(now.usual_wake)}" if now.usual_wake else ""
    return f"It took {duration(last.elapsed)}{kind}{usual}."


def so_far(views: Iterator[ProgressView], *, wait: bool) -> Iterator[ProgressView]:
    """All of them, or the first one alone."""
    for view in views:
        yield view
        if not wait:
            return


def until_settled(views: Iterator[ProgressView]) -> Iterator[ProgressView]:
    for view in views:
        yield view
        if view.satellite.state not in TRANSIENT_STATES and not view.satellite.change_pending:
            return


def until_ended(client: Client, satellite: SatelliteView) -> Iterator[ProgressView]:
    """Follow it to its end; one whose end came before it could be followed is unknown by then."""
    from torpor_router.control.messages import ProgressView

    try:
        yield from until_settled(client.follow(satellite.name))
    except Failed as failed:
        if failed.failure.status is not Status.NOT_FOUND:
            raise
        yield ProgressView(replace(satellite, state=State.TERMINATED), timedelta(), "")


def until_reached(
    client: Client, name: str, goal: str, timeout: timedelta | None
) -> Iterator[ProgressView]:
    """Follow it until it is `running`, `asleep` or `gone`.

    Raises:
        NotReached: `timeout` is over.
        SatelliteFailed, SatelliteEnding: it will not be so.
    """
    from torpor_router.cli.client_errors import NotReached

    wanted = {"running": State.RUNNING, "asleep": State.ASLEEP, "gone": State.TERMINATED}[goal]
    end = None if timeout is None else time.monotonic() + timeout.total_seconds()
    for view in client.follow(name):
        yield view
        if view.satellite.state is wanted:
            return
        _check_possible(view.satellite, wanted)
        if end is not None and time.monotonic() > end:
            raise NotReached(f"{name} is {view.satellite.state} after {duration(view.elapsed)}")


def _check_possible(satellite: SatelliteView, wanted: State) -> None:
    from torpor_statemachine.errors import SatelliteEnding, SatelliteFailed

    if wanted is State.TERMINATED:
        return
    if satellite.state is State.FAILED:
        raise SatelliteFailed(f"{satellite.org}/{satellite.name}")
    if satellite.state in (State.TERMINATING, State.TERMINATED):
        raise SatelliteEnding(f"{satellite.org}/{satellite.name}")


def check(satellite: SatelliteView) -> None:
    """Raise what a change that has settled failed with."""
    from torpor_statemachine.errors import recall

    if satellite.failure:
        raise recall(satellite.failure)
