"""The exit codes of `torpor` and `satellite`, which scripts and supervisors act on.

0    it did what was asked
1    it failed, and not for any of the reasons below
2    it was not used rightly: an option or an argument that cannot be meant
3    it was refused: no such thing, not allowed, or not in this state
4    it may work later: something does not answer, or is full
130  it was interrupted from the keyboard
"""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    OK = 0
    FAILED = 1
    USAGE = 2
    REFUSED = 3
    UNAVAILABLE = 4
    INTERRUPTED = 130
