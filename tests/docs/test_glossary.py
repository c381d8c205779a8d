"""The glossary's words are the code's: what it names exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

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


def _retired(after: str, before: str) -> list[str]:
    part = GLOSSARY.split(after)[1].split(before)[0]
    cells = re.findall(r"(?m)^\| (`[^|]+?) \|", part)
    return [word for cell in cells for word in re.findall(r"`([^`]+)`", cell)]


RETIRED = _retired("## Retired words", "These are retired as names")
NAMES = _retired("These are retired as names", "no end")
# The old option is still accepted, and the glossary is where the words are retired
_MAY = {
    "--workers": {
        "router/torpor_router/serve/command.py",
        "tests/router/serve/test_serve_command.py",
    }
}
EVERYTHING = [
    path
    for root in ("router", "statemachine", "provisioner", "migrations", "tests", "infra", "docs")
    for path in (ROOT / root).rglob("*")
    if path.suffix in {".py", ".sql", ".proto", ".md", ".yaml", ".sh", ".json", ".service"}
    and path not in {ROOT / "docs/glossary.md", Path(__file__)}
] + [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", ROOT / "Makefile"]


_WORDS = re.compile(rf"(?<![\w-])_?(?:{'|'.join(map(re.escape, RETIRED))})(?![\w-])")


def test_no_retired_word_comes_back() -> None:
    assert len(RETIRED) > 10
    found = [
        f"{name}: {word}"
        for path in EVERYTHING
        for name in [str(path.relative_to(ROOT))]
        for word in set(_WORDS.findall(path.read_text(encoding="utf-8")))
        if name not in _MAY.get(word, set())
    ]
    assert found == []


@pytest.mark.parametrize("name", NAMES)
def test_nothing_has_a_retired_name(name: str) -> None:
    found = {
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in SOURCES
        if name in path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.expr | ast.arg | ast.stmt) and _name_of(node) in (name, f"_{name}")
    }
    assert found == set()


def _name_of(node: ast.AST) -> str | None:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
            return name
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return name
    return None
