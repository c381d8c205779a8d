"""What a command waits for, and how it waits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from torpor_provisioner.errors import Status
from torpor_router.cli.failures import Failed
from torpor_router.cli.output import Output
from torpor_router.cli.progress import last_of, showing
from torpor_statemachine.lifecycle.states import State

if TYPE_CHECKING:
    from torpor_router.cli.client import Client
    from torpor_router.control.messages import ProgressView, SatelliteView

_PASSING = (State.LAUNCHING, State.SLEEPING, State.WAKING, State.UPDATING, State.TERMINATING)


def until_the_end(views: Iterable[ProgressView], output: Output) -> SatelliteView:
    """Show how far it is; the satellite as it was seen last. Interrupting it stops nothing."""
    try:
        with showing(silent=output.as_json) as shown:
            last = last_of(views, shown)
    except KeyboardInterrupt:
        output.remark("\nIt goes on by itself; 'satellite follow NAME' shows how far it is.")
        raise
    assert last is not None, "a stream begins with a message"
    return last.satellite


def so_far(views: Iterator[ProgressView], *, wait: bool) -> Iterator[ProgressView]:
    """All of them, or the first one alone."""
    for view in views:
        yield view
        if not wait:
            return


def until_settled(views: Iterator[ProgressView]) -> Iterator[ProgressView]:
    for view in views:
        yield view
        if view.satellite.state not in _PASSING and not view.satellite.change_pending:
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


def check(satellite: SatelliteView) -> None:
    """Raise what a change that has settled failed with."""
    from torpor_statemachine.errors import recall

    if satellite.failure:
        raise recall(satellite.failure)
