"""The data path's limits: every one has a default, a unit and a code that tells of it."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Times in seconds, sizes in octets. Counts are for one process, not for a whole node group.

    Raises:
        ValueError: a limit is not positive.
    """

    # holding
    hold_budget: float = 300.0  # how long a request may wait, apart from its own deadline
    held_per_satellite: int = 10_000
    held_per_node: int = 10_000
    held_octets_per_connection: int = 1 << 20

    # one connection
    streams_per_connection: int = 1_000
    header_octets: int = 128 * 1024  # a request's header list, as RFC 9113 section 6.5.2 counts
    connections_per_caller: int = 10_000
    preface_timeout: float = 10.0  # until the client's preface and SETTINGS have come
    header_timeout: float = 20.0  # for a frame that was begun to come whole
    first_request_timeout: float = 300.0  # an open connection that never asked for anything
    idle_timeout: float = 3_600.0  # without any open stream
    write_stall: float = 600.0  # a peer that takes no octet while octets wait for it

    # abuse: more than this many within the window ends the connection
    flood_window: float = 10.0
    control_frames: int = 20_000  # PING, SETTINGS, PRIORITY, empty DATA, unknown kinds
    settings_frames: int = 200
    resets: int = 1_000  # streams that the client opened and reset (CVE-2023-44487)
    faults: int = 100  # malformed or refused requests

    # the satellite
    connect_timeout: float = 10.0  # until the worker's SETTINGS have come
    connects_at_once: int = 256  # connections being made to one satellite

    # leaving
    drain: float = 30.0
    linger: float = 2.0  # for a peer to read our last words before the socket closes

    def __post_init__(self) -> None:
        for each in fields(self):
            if getattr(self, each.name) <= 0:
                raise ValueError(f"limit {each.name} must be positive")
