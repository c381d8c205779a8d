"""What is wrong with what usage is asked by."""

from __future__ import annotations

from torpor_provisioner.errors import Status, TorporError


class BadPrices(TorporError):
    code = "TPR-5226"
    status = Status.INVALID_ARGUMENT
    cause = "The file of prices cannot be read"
    remedy = "Write it as docs/usage.md shows: a table [PROVISIONER.SIZE] with 'awake' and 'asleep'"


class BadGrouping(TorporError):
    code = "TPR-5510"
    status = Status.INVALID_ARGUMENT
    cause = "Usage has no lines by that"
    remedy = "Give satellite, org, size, day, or label: and a label's key, as in label:team"


class BadPeriod(TorporError):
    code = "TPR-5227"
    status = Status.INVALID_ARGUMENT
    cause = "Usage cannot be told for that time"
    remedy = "Give two days as in 2026-10-01 and 2026-10-31, at most 1,200 days apart"
