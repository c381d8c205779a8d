"""A wake in the stream that shows a build's progress: what is told, in no client's words yet."""

from __future__ import annotations

from typing import ClassVar, Protocol

from torpor_statemachine.gate import Outlook
from torpor_statemachine.lifecycle.states import State


class Narrator(Protocol):
    """Begins the answer to one call, each time with one message of its kind (protobuf, unframed).

    An empty one stands for none.
    """

    after: ClassVar[float]  # seconds that the call has waited before its answer is begun
    repeated: ClassVar[bool]  # the worker's first message says what was said, or begins so

    def __init__(self, title: str, since: float) -> None:
        """The wake's title, and when its caller began to wait, in seconds since 1970."""

    def begin(self) -> bytes:
        """The wake is under way."""
        ...

    def line(self, text: str) -> bytes:
        """Something to show below the title."""
        ...

    def end(self, error: str = "") -> bytes:
        """The satellite is awake; or it failed, with an error."""
        ...

    def continued(self, message: bytes) -> bytes | None:
        """What is left of the worker's first message, if it repeats; None if it does not."""
        ...


NarratorOf = type[Narrator]


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
