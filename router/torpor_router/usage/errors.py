"""What is wrong with what usage is asked by."""

from __future__ import annotations

from torpor_provisioner.errors import Status, TorporError


class BadPrices(TorporError):
    code = "TPR-5226"
    status = Status.INVALID_ARGUMENT
    cause = "The file of prices cannot be read"
    remedy = "Write it as docs/usage.md shows: a table [PROVISIONER.SIZE] with 'awake' and 'asleep'"
