"""Writes what a run came to into docs/chaos.md, which says what all of it means."""

from __future__ import annotations

import os
import platform
from pathlib import Path

HEADINGS = {
    "chaos": "## The last long run",
    "ec2": "## The last run on EC2",
    "vm": "## The last run on virtual machines",
}


def write(page: Path, heading: str, table: str, seed: int, seconds: float) -> None:
    """Under its heading, up to the next one."""
    before, _, after = page.read_text().partition(heading)
    rest = after[after.index("\n## ") :] if "\n## " in after else ""
    machine = f"{os.cpu_count()} cores, Python {platform.python_version()}, {platform.system()}"
    told = f"Seed {seed}, {seconds / 60:.0f} minutes, on {machine}, shared with other work."
    page.write_text(f"{before}{heading}\n\n{told}\n\n{table}{rest}")
