"""The data path's limits: every one has a default, a unit and a code that tells of it."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from math import inf
from typing import TypeVar

_Number = TypeVar("_Number", int, float)


def _limit(default: _Number, unit: str, says: str) -> _Number:
    """A field whose unit and meaning `torpor serve --help` can tell."""
    return field(default=default, metadata={"unit": unit, "says": says})


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Times in seconds, sizes in octets. Counts are for one process, not for a whole node group.

    Raises:
        ValueError: a limit is not positive and finite.
    """

    # holding
    hold_budget: float = _limit(
        300.0, "seconds", "How long a request may wait, apart from its own deadline."
    )
    database_budget: float = _limit(
        90.0,
        "seconds",
        "How long of it a request may wait for a database that does not answer.",
    )
    held_per_satellite: int = _limit(10_000, "requests", "Most that may wait for one satellite.")
    held_per_node: int = _limit(
        20_000,
        "requests",
        "Most that may wait in one process; an org may take as many as it leaves free.",
    )
    held_octets_per_connection: int = _limit(
        1 << 20, "octets", "Most that the requests waiting on one connection may take."
    )

    # one connection
    streams_per_connection: int = _limit(
        1_000, "streams", "Most that may be open on one connection."
    )
    header_octets: int = _limit(
        128 * 1024,
        "octets",
        "Largest header list of a request, counted as in RFC 9113 section 6.5.2.",
    )
    header_fields: int = _limit(200, "fields", "Most in a request's header list.")
    connections_per_caller: int = _limit(
        10_000, "connections", "Most that one token or certificate may have open."
    )
    preface_timeout: float = _limit(
        10.0,
        "seconds",
        "How long the client's preface, SETTINGS and acknowledgement of ours may take.",
    )
    header_timeout: float = _limit(20.0, "seconds", "How long a frame that was begun may take.")
    first_request_timeout: float = _limit(
        300.0, "seconds", "How long an open connection may ask for nothing at first."
    )
    idle_timeout: float = _limit(
        3_600.0, "seconds", "How long a connection may be without any stream."
    )
    write_stall: float = _limit(
        600.0, "seconds", "How long a peer may take no octet while octets wait for it."
    )

    # those who have shown no credentials
    strangers: int = _limit(
        8_192, "connections", "Most of them at once; then the oldest gives way to a new one."
    )
    strangers_per_address: int = _limit(
        1_024, "connections", "Most of them from one IPv4 address, or one IPv6 network (/64)."
    )
    node_streams_of_strangers: int = _limit(
        16, "streams", "Most calls of the node's own services on one of their connections."
    )

    # abuse: more than this many within the window ends the connection
    flood_window: float = _limit(10.0, "seconds", "The window in which the next four are counted.")
    control_frames: int = _limit(
        20_000, "frames", "Most that carry nothing: PING, PRIORITY, empty DATA, unknown ones."
    )
    settings_frames: int = _limit(200, "frames", "Most SETTINGS.")
    resets: int = _limit(
        1_000, "streams", "Most that a client may open and reset itself (CVE-2023-44487)."
    )
    faults: int = _limit(100, "requests", "Most that may be malformed or refused.")

    # the satellite
    connect_timeout: float = _limit(10.0, "seconds", "How long the worker's SETTINGS may take.")
    connects_at_once: int = _limit(256, "connections", "Most that are being made to one satellite.")

    # leaving
    linger: float = _limit(10.0, "seconds", "How long a peer may take to read our last words.")

    def __post_init__(self) -> None:
        for each in fields(self):
            if not 0 < getattr(self, each.name) < inf:  # which NaN is not
                raise ValueError(f"limit {each.name} must be positive and finite")
