"""The words of the lifecycle: states, kinds of wake, modes of sleep."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    LAUNCHING = "launching"
    RUNNING = "running"
    SLEEPING = "sleeping"  # on its way to sleep
    ASLEEP = "asleep"
    WAKING = "waking"
    UPDATING = "updating"  # from asleep only
    FAILED = "failed"
    TERMINATING = "terminating"
    TERMINATED = "terminated"


# A claim stands while a satellite is in one of them: they end by themselves
TRANSIENT_STATES = frozenset(
    {State.LAUNCHING, State.SLEEPING, State.WAKING, State.UPDATING, State.TERMINATING}
)


class WakeKind(StrEnum):
    """What a held request waited for."""

    HOT = "hot"  # it was running
    RESUMED = "resumed"  # from hibernation
    STARTED = "started"  # from a stop
    LAUNCHED = "launched"  # new


class SleepMode(StrEnum):
    AUTO = "auto"  # hibernates x86_64, stops arm64
    HIBERNATE = "hibernate"
    STOP = "stop"
