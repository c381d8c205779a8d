"""The page of the documentation keeps its words, and gets the last run's table."""

from __future__ import annotations

from pathlib import Path

import pytest
from chaoskit import page


@pytest.mark.parametrize("heading", page.HEADINGS.values())
def test_a_run_replaces_the_one_before(tmp_path: Path, heading: str) -> None:
    told = tmp_path / "chaos.md"
    told.write_text(f"# Words\n\n{heading}\n\nNot run yet.\n\n## More words\n\nStay.\n")
    for seed in (7, 8):
        page.write(told, heading, f"| row of {seed} |\n", seed, 600.0)
    text = told.read_text()
    assert text.startswith(f"# Words\n\n{heading}\n\nSeed 8, 10 minutes, on ")
    assert text.endswith("| row of 8 |\n\n## More words\n\nStay.\n")
    assert "of 7" not in text
    assert "Not run" not in text
