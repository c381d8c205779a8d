"""What the log of transitions tells of each satellite, with what failovers have lost of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

from chaoskit.records import Lost

FOUND = ("found_asleep", "found_running", "moved", "lost")
_AFTERWARDS = " after a failover"
FOUND_ASLEEP = FOUND[0] + _AFTERWARDS
FOUND_RUNNING = FOUND[1] + _AFTERWARDS
PERHAPS = {claim: f"{claim}, perhaps" for claim in ("wake", "sleep")}


def told(
    kept: Iterable[Mapping[str, Any]], lost: Iterable[Lost], names: Mapping[UUID, str]
) -> dict[str, list[str]]:
    """The events by satellite's name, in order. Those by which it was found out what a failover
    has lost say so. `lost` knows its rows' names from now on."""
    lost = list(lost)
    story: list[tuple[int, int, int, str, str]] = []
    for row in kept:
        event = row["event"]
        if event in FOUND and any(each.after < row["id"] <= each.until for each in lost):
            event += _AFTERWARDS
        story.append((row["id"], 0, 0, names[row["satellite_id"]], event))
    for number, each in enumerate(lost):
        each.rows = [replace(row, ref=names[row.satellite_id]) for row in each.rows]
        story += [(each.after, number + 1, row.id, row.ref, row.event) for row in each.rows]
        # A claim that was lost may have had its effect, of which no row tells
        last = {row.ref: row for row in each.rows}
        story += [
            (each.after, number + 1, row.id + 1, row.ref, PERHAPS[row.event])
            for row in last.values()
            if row.event in PERHAPS
        ]
    history: dict[str, list[str]] = {name: [] for name in names.values()}
    for *_, name, event in sorted(story):
        history[name].append(event)
    return history
