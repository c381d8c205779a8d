"""How a wait is shown: one moving line on a terminal, a line for each news elsewhere.

It goes to standard error, so that standard output holds the answer alone.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

import click

from torpor_router.cli.failures import printable
from torpor_router.durations import duration
from torpor_statemachine.lifecycle.states import State

if TYPE_CHECKING:
    from rich.console import RenderableType

    from torpor_router.control.messages import ProgressView

QUIET = 15.0  # seconds without news after which a line is printed anyway


class Shown(Protocol):
    def update(self, view: ProgressView) -> None: ...


def last_of(views: Iterable[ProgressView], shown: Shown) -> ProgressView | None:
    """Show all of them; the last one, if there was any."""
    last = None
    for last in views:
        shown.update(last)
    return last


@contextmanager
def showing(*, silent: bool = False) -> Iterator[Shown]:
    """Show progress until the end of the block, in the way that suits standard error."""
    if silent:
        yield Silence()
    elif sys.stderr.isatty():
        from rich.console import Console
        from rich.live import Live

        line = MovingLine()
        with Live(line, console=Console(stderr=True), refresh_per_second=10, transient=True):
            yield line
    else:
        yield PlainLines()


class Silence:
    def update(self, view: ProgressView) -> None:
        pass


class MovingLine:
    """A spinner, the satellite, what it does and for how long; drawn anew by rich's own thread."""

    def __init__(self) -> None:
        from rich.spinner import Spinner

        self._spinner = Spinner("dots")
        self._line = ("asking the router", "")
        self._usual = ""
        self._began = time.monotonic()

    def update(self, view: ProgressView) -> None:
        self._line = (printable(named(view)), printable(view.waiting_for))
        usual, waking = view.satellite.usual_wake, view.satellite.state is State.WAKING
        self._usual = f", usually {duration(usual)}" if usual and waking else ""

    def __rich__(self) -> RenderableType:
        from rich.text import Text

        elapsed = timedelta(seconds=time.monotonic() - self._began)
        what, why = self._line
        text = f"{what}, {duration(elapsed)}{self._usual}"
        self._spinner.update(text=Text(f"{text}: {why}" if why else text, overflow="fold"))
        return self._spinner


class PlainLines:
    """For logs: a line when something has changed, and now and then in between."""

    def __init__(self) -> None:
        self._line = ""
        self._at = 0.0

    def update(self, view: ProgressView) -> None:
        line, now = described(view), time.monotonic()
        if line != self._line or now - self._at >= QUIET:
            self._line, self._at = line, now
            click.echo(printable(f"{line} ({duration(view.elapsed)})"), err=True)


def described(view: ProgressView) -> str:
    return f"{named(view)}: {view.waiting_for}" if view.waiting_for else named(view)


def named(view: ProgressView) -> str:
    satellite = view.satellite
    return f"{satellite.org}/{satellite.name} {satellite.state or 'in an unknown state'}"
