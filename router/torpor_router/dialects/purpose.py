"""What a call is for, in the door's words."""

from __future__ import annotations

from enum import Enum


class Purpose(Enum):
    """What the door may do with a call while its satellite is not awake.

    WORK      It needs the satellite: it is held, wakes it, and keeps it awake.
    TELLS     It only reports, in one message, what the client did. It never wakes, is never held,
              and does not keep the satellite awake: when that sleeps, the node thanks for it.
    REPORTS   TELLS, as a stream of messages that are acknowledged one by one.
    LOOKS     It only asks how the worker is. The worker's last answer is as good while the
              satellite is not awake; without one it is WORK.
    PROGRESS  WORK whose answer is a stream of what happens to a build, and so may begin with the
              door's own news of the wake.
    """

    WORK = "work"
    TELLS = "tells"
    REPORTS = "reports"
    LOOKS = "looks"
    PROGRESS = "progress"

    @property
    def needs_the_worker(self) -> bool:
        """Whether nobody else can answer it."""
        return self in (Purpose.WORK, Purpose.PROGRESS)

    @property
    def only_tells(self) -> bool:
        """Whether nobody waits for what the satellite makes of it."""
        return self in (Purpose.TELLS, Purpose.REPORTS)
