"""The glossary's words are the code's: what it names exists."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
GLOSSARY = (ROOT / "docs/glossary.md").read_text(encoding="utf-8")
SOURCES = [
    path
    for root in ("router", "statemachine", "provisioner")
    for path in (ROOT / root).rglob("*.py")
]


def test_what_the_glossary_names_exists() -> None:
    code = "\n".join(path.read_text(encoding="utf-8") for path in SOURCES)
    names = {
        name
        for cell in re.findall(r"(?m)^\| \*\*[^|]+\*\* \|([^|]*)\|", GLOSSARY)
        for name in re.findall(r"`([^`]+)`", cell)
    }
    assert len(names) > 40
    missing = {name for name in names if not re.search(rf"(?<!\w){re.escape(name)}(?!\w)", code)}
    assert missing == set()


def test_a_word_stands_once() -> None:
    words = re.findall(r"(?m)^\| \*\*([^|*]+)\*\* \|", GLOSSARY)
    assert len(words) == len(set(words))
