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


RETIRED = [
    word
    for cell in re.findall(r"(?m)^\| (`[^|]+?) \|", GLOSSARY.split("## Retired words")[1])
    for word in re.findall(r"`([^`]+)`", cell)
]
# The old option is still accepted, and the glossary is where the words are retired
_MAY = {"--workers": {"router/torpor_router/serve/command.py"}}


def test_no_retired_word_comes_back() -> None:
    assert len(RETIRED) > 10
    found = [
        f"{name}: {word}"
        for path in SOURCES
        for name in [str(path.relative_to(ROOT))]
        for word in RETIRED
        if re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", path.read_text(encoding="utf-8"))
        and name not in _MAY.get(word, set())
    ]
    assert found == []
