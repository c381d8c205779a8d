"""`grpc-timeout`, less the time a request was held."""

from __future__ import annotations

import re
from typing import Final

_FORM: Final = re.compile(rb"([0-9]{1,8})([HMSmun])")
_SECONDS: Final = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_MOST: Final = 99_999_999  # eight digits


def parse(value: bytes) -> float | None:
    """Seconds; None for what is no timeout (the worker will say so)."""
    form = _FORM.fullmatch(value)
    return int(form[1]) * _SECONDS[form[2]] if form else None


def encode(seconds: float) -> bytes:
    """`seconds`, in the finest unit that eight digits hold."""
    for unit in (b"u", b"m", b"S"):
        amount = int(seconds / _SECONDS[unit])
        if amount <= _MOST:
            return b"%d%s" % (amount, unit)
    return b"%dH" % min(_MOST, int(seconds / 3600))
