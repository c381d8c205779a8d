"""What keeps a satellite awake: streams, whose they are, and the nodes they pass through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

_SHOWN = 3  # groups of streams, in a sentence


@dataclass(frozen=True, slots=True)
class Streams:
    """Open streams of one caller, method and client's address. `since` is when the oldest of them
    was first seen, which is some seconds late at most."""

    caller: str  # as in the transitions log: "token:ci"
    method: str  # "/package.Service/Method"; empty where it is not known
    peer: str  # the client's address
    count: int
    since: datetime


@dataclass(frozen=True, slots=True)
class Keeper:
    """One node's lease. `count` is all of its streams, None before the first report;
    `streams` are the oldest of them, by caller. `silent_for` is zero for a node that is heard of;
    the lease of one that is not ends at `until`, in `left`."""

    node_id: UUID
    count: int | None
    streams: Sequence[Streams]
    reported_at: datetime | None
    silent_for: timedelta
    until: datetime
    left: timedelta

    @property
    def is_silent(self) -> bool:
        return bool(self.silent_for)


def in_words(keepers: Sequence[Keeper]) -> str:
    """One line for a person; empty where nothing keeps it awake."""
    groups = sorted((each for one in keepers for each in one.streams), key=lambda each: each.since)
    parts = [_streams(each) for each in groups[:_SHOWN]]
    counts = [each.count for each in keepers]
    rest = sum(filter(None, counts)) - sum(each.count for each in groups[:_SHOWN])
    if rest > 0:
        parts.append(f"{rest} more" if parts else f"{rest} streams")
    if not parts and keepers:
        parts.append("streams not reported yet")
    return "; ".join([*parts, *(silence(each) for each in keepers if each.is_silent)])


def silence(keeper: Keeper) -> str:
    """What is to be said of a node that is not heard of any more."""
    silent, left = keeper.silent_for.total_seconds(), keeper.left.total_seconds()
    return (
        f"held by router {str(keeper.node_id)[:8]}, not heard of for {silent:.0f} s:"
        f" its leases end in {left:.0f} s, at {keeper.until:%H:%M:%S} UTC"
    )


def _streams(group: Streams) -> str:
    method = f" {group.method}" if group.method else ""
    number = "1 stream" if group.count == 1 else f"{group.count} streams"
    return (
        f"{number} of {group.caller}{method} from {group.peer}"
        f" since {group.since:%Y-%m-%d %H:%M:%S} UTC"
    )
