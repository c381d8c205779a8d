"""When a router's process looks for garbage."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import gc
from torpor_router.serve.garbage import collect_nothing_yet, collect_rarely
usual = gc.get_threshold()
collect_nothing_yet()
assert not gc.isenabled()
collect_rarely()
assert gc.isenabled()
assert gc.get_threshold() > usual
assert gc.get_freeze_count() > 1_000
"""


def test_garbage_is_looked_for_once_all_is_imported_and_rarely() -> None:
    subprocess.run([sys.executable, "-c", PROGRAM], check=True)
