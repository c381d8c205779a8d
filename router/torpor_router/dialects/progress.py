"""A wake in the stream that shows a build's progress: what is told, in no client's words yet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torpor_statemachine.gate import Outlook
from torpor_statemachine.lifecycle.states import State


class Narrator(Protocol):
    """Tells of one wake, each time in one message of its stream's kind (protobuf, unframed).

    It was made with the wake's title, and with the moment at which its caller began to wait (in
    seconds since 1970).
    """

    def begin(self) -> bytes:
        """The wake is under way."""
        ...

    def line(self, text: str) -> bytes:
        """Something to show below the title."""
        ...

    def end(self, error: str = "") -> bytes:
        """The satellite is awake; or it failed, with an error."""
        ...


NarratorOf = Callable[[str, float], Narrator]


def title(satellite: str, outlook: Outlook) -> str:
    """What is under way with ``ORG/NAME``, as in "waking acme/one (hibernated), usually 20 s"."""
    if outlook.state is State.LAUNCHING:
        doing, how = "launching", ""
    else:
        doing = "waking"
        how = str(outlook.sleep_kind or outlook.state)
    text = f"{doing} {satellite}" + (f" ({how})" if how not in ("", "waking") else "")
    usual = outlook.usual_wake
    return text if usual is None else f"{text}, usually {max(1, round(usual))} s"
