"""How often one of many nodes looks for something to do.

What any node may find and only one can do needs not be looked for by each of 200 as often as by
the only one. `FULL` nodes ask at their own pace; of more each asks the less often, so that the
fleet asks as often as ever, until each asks `SLOWEST` times as seldom: so much later may a node see
that the others are gone.
"""

from __future__ import annotations

FULL = 8
SLOWEST = 5.0


def pace(every: float, living: int) -> float:
    """Seconds between two looks of one of `living` nodes; one alone would look `every` so often."""
    return every * min(max(1.0, living / FULL), SLOWEST)
