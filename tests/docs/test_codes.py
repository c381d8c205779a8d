"""Every code that a person can be told is raised by some test, by its number or by its class."""

from __future__ import annotations

import re
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_code_is_raised_by_some_test() -> None:
    loader = SourceFileLoader("pages", str(ROOT / ".ci/docs"))
    spec = spec_from_loader("pages", loader)
    assert spec is not None
    pages = module_from_spec(spec)
    loader.exec_module(pages)
    folders = (ROOT / "tests", ROOT / "docs/examples")
    texts = [
        re.sub(
            r"(?ms)^(?:from \S+ import \([^)]*\)|(?:from|import) [^\n(]*)$", "", file.read_text()
        )
        for folder in folders
        for file in folder.rglob("*.py")  # what tests are made with, too
    ]
    words = set(re.findall(r"\b(?:TPR-\d{4}|[A-Z]\w+)\b", "\n".join(texts)))
    missing = [
        f"{error.code} {error.__name__}"
        for error in pages.errors()
        if not words & {error.code, error.__name__}
    ]
    assert not missing
