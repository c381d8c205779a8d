"""The data path's limits: every one has a default, a unit and a code that tells of it."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TypeVar

_Number = TypeVar("_Number", int, float)


def _limit(default: _Number, unit: str, says: str) -> _Number:
    """A field whose unit and meaning `torpor serve --help` can tell."""
    return field(default=default, metadata={"unit": unit, "says": says})


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Times in seconds, sizes in octets. Counts are for one process, not for a whole node group.

    Raises:
        ValueError: a limit is not positive.
    """

    # holding
    hold_budget: float = _limit(
        300.0, "seconds", "How long a request may wait, apart from its own deadline."
    )
    held_per_satellite: int = _limit(10_000, "requests", "That wait for one satellite.")
    held_per_node: int = _limit(10_000, "requests", "That wait in one process.")
    held_octets_per_connection: int = _limit(
        1 << 20, "octets", "Of requests that wait on one connection."
    )

    # one connection
    streams_per_connection: int = _limit(1_000, "streams", "Open at once on one connection.")
    header_octets: int = _limit(
        128 * 1024, "octets", "Of a request's header list, counted as in RFC 9113 section 6.5.2."
    )
    connections_per_caller: int = _limit(10_000, "connections", "Of one token or certificate.")
    preface_timeout: float = _limit(
        10.0, "seconds", "Until the client's preface and SETTINGS have come."
    )
    header_timeout: float = _limit(20.0, "seconds", "For a frame that was begun to come whole.")
    first_request_timeout: float = _limit(
        300.0, "seconds", "For an open connection to ask for anything."
    )
    idle_timeout: float = _limit(3_600.0, "seconds", "For a connection without any open stream.")
    write_stall: float = _limit(
        600.0, "seconds", "For a peer that takes no octet while octets wait for it."
    )

    # abuse: more than this many within the window ends the connection
    flood_window: float = _limit(10.0, "seconds", "In which the next four are counted.")
    control_frames: int = _limit(
        20_000, "frames", "PING, SETTINGS, PRIORITY, empty DATA and unknown kinds."
    )
    settings_frames: int = _limit(200, "frames", "SETTINGS.")
    resets: int = _limit(
        1_000, "streams", "That the client opened and reset itself (CVE-2023-44487)."
    )
    faults: int = _limit(100, "requests", "Malformed or refused.")

    # the satellite
    connect_timeout: float = _limit(10.0, "seconds", "Until the worker's SETTINGS have come.")
    connects_at_once: int = _limit(256, "connections", "Being made to one satellite.")

    # leaving
    drain: float = _limit(30.0, "seconds", "For open streams to end when the router stops.")
    linger: float = _limit(
        2.0, "seconds", "For a peer to read our last words before the socket closes."
    )

    def __post_init__(self) -> None:
        for each in fields(self):
            if not getattr(self, each.name) > 0:  # NaN neither
                raise ValueError(f"limit {each.name} must be positive")
