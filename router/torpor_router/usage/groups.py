"""Which parts of a fleet have metrics of their own."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Groups:
    """Each value of what is in `by` ("org", "label:team") has series beside those of all
    satellites: the largest `most` of each; the others have one together."""

    by: tuple[str, ...] = ()
    most: int = 50
