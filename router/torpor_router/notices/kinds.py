"""What there is to tell of."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """As in migrations/, which write most of them."""

    WAKE_FAILED = "wake.failed"
    CAPACITY = "capacity"
    MACHINE_LOST = "machine.lost"
    MACHINE_STRAY = "machine.stray"
    RUNAWAY = "runaway"
    BUDGET_NEAR = "budget.near"
    BUDGET_REACHED = "budget.reached"
    TEST = "test"


MEANINGS = {
    Kind.WAKE_FAILED: "a wake or a launch failed",
    Kind.CAPACITY: "a wake or a launch waits, or failed, for want of room or quota",
    Kind.MACHINE_LOST: "a satellite's machine is gone",
    Kind.MACHINE_STRAY: "a machine was found whose satellite is not in the database",
    Kind.RUNAWAY: "a satellite is awake far beyond its own past, with few builds to show for it",
    Kind.BUDGET_NEAR: "an org has spent four fifths of its budget of the month",
    Kind.BUDGET_REACHED: "an org has spent its budget of the month",
    Kind.TEST: "a person asked for it",
}
# Of these an org knows nothing
OPERATORS_ONLY = frozenset((Kind.MACHINE_STRAY,))
