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
    OPENS     WORK as soon as another call of its build needs the satellite, or after a moment: a
              build that is ended before has needed none.
    RETURNS   Ends such a build, and is WORK for every other one.
    PROGRESS  OPENS whose answer is a stream of what happens to a build, and so may begin with the
              door's own news of the wake.
    """

    WORK = "work"
    TELLS = "tells"
    REPORTS = "reports"
    LOOKS = "looks"
    OPENS = "opens"
    RETURNS = "returns"
    PROGRESS = "progress"

    @property
    def needs_the_worker(self) -> bool:
        """Whether nobody else can answer it."""
        return self is Purpose.WORK or self.of_a_build

    @property
    def of_a_build(self) -> bool:
        """Whether it only holds a build together, and other calls are the work."""
        return self in (Purpose.OPENS, Purpose.RETURNS, Purpose.PROGRESS)

    @property
    def only_tells(self) -> bool:
        """Whether nobody waits for what the satellite makes of it."""
        return self in (Purpose.TELLS, Purpose.REPORTS)
