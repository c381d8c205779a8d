"""The lifecycle's times, in seconds, and why each is what it is."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from math import inf
from typing import TypeVar

_Number = TypeVar("_Number", int, float)


def _setting(default: _Number, unit: str, says: str) -> _Number:
    """A field that an operator may set: `torpor serve --help` tells its unit and meaning."""
    return field(default=default, metadata={"unit": unit, "says": says})


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetConfig:
    """How fast, how often, how long.

    Raises:
        ValueError: a node could never be sure of what it holds, or a setting cannot be meant.
    """

    # a node's life
    heartbeat: float = 2.0
    claims_live: float = 7.0  # after a heartbeat; a dead node's work is taken over within 10 s
    leases_live: float = _setting(  # longer than Postgres is ever away for a restart
        60.0, "seconds", "How long builds of a router that is cut off from the database are safe."
    )
    safety: float = 1.0  # a node stops trusting its claims and leases so long before they end

    # waiting
    poll: float = 1.0  # with jitter, beside LISTEN: that connection can die without a word
    database_budget: float = 90.0  # for one that does not answer; then the wait fails with a code
    probe: float = 0.05  # between two questions to a worker that should soon answer
    probe_timeout: float = 1.0  # for one of them
    identify_timeout: float = 0.5  # for its machine to say which one it is, if it does
    first_look: float = 0.1  # between two looks at a machine that moves; grows to `longest_look`
    longest_look: float = 1.0
    patience: float = 5.0  # for the cloud to show what it has accepted
    first_retry: float = 0.25  # after Capacity, Throttled, NotReady; doubled, with jitter
    longest_retry: float = 10.0

    # calls to a cloud: one that takes longer is given up, and looked after; well within the half
    # minute in which clients expect to hear something
    look: float = 10.0  # observe: it is asked again and again
    call: float = 20.0
    long_call: float = 120.0  # launch tries sizes and zones in turn, update waits for volumes

    # how long a transition may take before it has failed
    shortest_wake: float = 60.0
    longest_wake: float = _setting(
        900.0, "seconds", "How long a wake may take, also while the cloud shows it coming up."
    )
    wake_factor: float = 3.0  # times the slowest of its own recent wakes
    launch: float = 900.0
    sleep: float = 900.0  # hibernating writes the memory to the disk
    update: float = 900.0
    terminate: float = 900.0

    # after failed wakes in a row: doubled each time
    first_back_off: float = 1.0
    longest_back_off: float = _setting(
        60.0, "seconds", "Longest pause before a wake that failed may be tried again."
    )

    farewell: float = 0.3  # for every node to tell the clients whose streams a forced end cuts

    # idleness
    linger: float = 2.0  # a lease outlives its last stream by this: the next one comes at once
    after_wake: float = 5.0  # for those who were held to take their leases
    reap: float = 1.0
    reap_batch: int = 50

    # satellites of arm64 that are launched with the mode `auto`: with `hibernate` instead
    hibernate_arm64: bool = False

    # what is kept; nothing that is counted by days is lost with its steps
    history_days: int = _setting(
        90, "days", "How long steps of the log and terminated satellites are kept."
    )
    usage_days: int = _setting(  # three years, and some for who reads them late
        1_100, "days", "How long totals of days and hours are kept."
    )
    count: float = 10.0  # seconds between two tellings of streams; a killed node loses so much

    # agreement with the cloud
    reconcile: float = _setting(
        15.0, "seconds", "Between two looks at the machine of a satellite that rests."
    )
    looks: float = _setting(  # it would throttle more
        1_000.0, "machines", "Most that all routers look at in a second, of one cloud."
    )
    cloud_lag: float = 10.0  # a change younger than this may not be visible in the cloud yet
    orphans: float = _setting(  # an orphan is ended when seen twice
        300.0, "seconds", "Between two searches for machines that belong to no satellite."
    )

    def __post_init__(self) -> None:
        if not self.heartbeat < self.claims_live - self.safety <= self.leases_live:
            raise ValueError(
                f"heartbeat {self.heartbeat:g} s, claims {self.claims_live:g} s, leases"
                f" {self.leases_live:g} s: each must outlast the one before by {self.safety:g} s"
            )
        for each in SETTINGS:
            if not 0 < getattr(self, each.name) < inf:  # which NaN is not
                raise ValueError(f"{each.name} must be positive and finite")


# What an operator may set
SETTINGS = tuple(each for each in fields(FleetConfig) if each.metadata)
