"""How long things take in EC2, and how fast its time passes here."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Seconds of EC2's time. The defaults are what people measure with small Linux machines."""

    appears: float = 1.0  # from RunInstances until the machine is found
    launch: float = 6.0  # pending, of a new machine
    start: float = 5.0  # pending, of a stopped one
    resume: float = 5.0  # pending, of a hibernated one
    boot: float = 10.0  # from running until the worker is started
    thaw: float = 1.0  # from running until the worker goes on
    thaw_per_gib: float = 0.3  # and for each GiB of memory read back
    stop: float = 10.0  # stopping
    hibernate: float = 10.0  # stopping, to hibernate
    hibernate_per_gib: float = 2.0  # and for each GiB of memory written
    terminate: float = 5.0  # shutting-down
    young: float = 120.0  # too young to hibernate
    session: float = 3600.0  # life of credentials that AssumeRole gives

    @classmethod
    def short(cls) -> Timing:
        """For tests of what happens, not of when."""
        return cls(
            appears=0.01,
            launch=0.02,
            start=0.02,
            resume=0.02,
            boot=0.0,
            thaw=0.0,
            thaw_per_gib=0.0,
            stop=0.02,
            hibernate=0.02,
            hibernate_per_gib=0.001,
            terminate=0.02,
            young=0.0,
        )


class Clock:
    """EC2's time, `speed` times as fast as ours."""

    def __init__(self, speed: float = 1.0) -> None:
        self.speed = speed

    def now(self) -> float:
        return time.monotonic() * self.speed

    def ours(self, seconds: float) -> float:
        return seconds / self.speed
