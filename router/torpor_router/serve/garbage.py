"""How often Python looks for objects that only refer to each other.

The parts of a connection do, so each that ends leaves some; but to look through a whole heap for
them every few connections took a tenth of what a short one costs.
"""

from __future__ import annotations

import gc

_NEW = 10_000  # objects that may be made before the young ones are looked through
_ROUNDS = 5  # of that, before those that survived one are: what some 500 connections left, 5 MB
_OLD = 20  # of these, before all are


def collect_nothing_yet() -> None:
    """Call before everything is imported, which makes no garbage: a sixth of a router's start."""
    gc.disable()


def collect_rarely() -> None:
    """Call once everything is imported: what is there now lives as long as the process."""
    gc.collect()
    gc.freeze()
    gc.enable()
    gc.set_threshold(_NEW, _ROUNDS, _OLD)
