"""What goes wrong, on demand: refusals, lost answers, hibernations that fail, full zones."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from enum import StrEnum


class Effect(StrEnum):
    REFUSE = "refuse"  # nothing is done
    LOSE = "lose"  # it is done, and the connection breaks before the answer
    LATE = "late"  # it is done at once, and answered `seconds` later
    HANG = "hang"  # nothing is done and nothing answered, until the caller goes, or for `seconds`
    SHUT_DOWN = "shut-down"  # a hibernation becomes a shutdown, and is called one all the same
    STOP_AGAIN = "stop-again"  # a start is accepted; then the machine stops, and says why


@dataclass(slots=True)
class Fault:
    """Meets the next `times` calls of `action`, or those only that name `instance`."""

    action: str
    effect: Effect = Effect.REFUSE
    code: str = "InternalError"
    message: str = "An internal error has occurred"
    status: int = 500
    times: int = 1
    instance: str = ""
    seconds: float = 60.0  # for LATE and HANG

    def meets(self, action: str, instances: Collection[str]) -> bool:
        return (
            self.times > 0
            and action == self.action
            and (not self.instance or self.instance in instances)
        )


@dataclass(slots=True)
class Script:
    faults: list[Fault] = field(default_factory=list)
    capacity: dict[tuple[str, str], int] = field(default_factory=dict)  # by size and zone

    def next(self, effect: Effect, action: str, instances: Collection[str]) -> Fault | None:
        """The fault that meets this call, used up by it."""
        for fault in self.faults:
            if fault.effect is effect and fault.meets(action, instances):
                fault.times -= 1
                return fault
        return None

    def has_room(self, size: str, zone: str, wanted: int) -> bool:
        """Whether a zone has so many machines of a size; one that is not listed has any number."""
        return self.capacity.get((size, zone), wanted) >= wanted

    def take_room(self, size: str, zone: str) -> None:
        if (size, zone) in self.capacity:
            self.capacity[size, zone] -= 1

    def give_room(self, size: str, zone: str) -> None:
        if (size, zone) in self.capacity:
            self.capacity[size, zone] += 1

    def clear(self) -> None:
        self.faults.clear()
        self.capacity.clear()
