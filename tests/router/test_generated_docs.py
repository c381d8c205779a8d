"""The generated pages are current, and every code keeps the rules that they state."""

from __future__ import annotations

import re
from collections import Counter
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest

from torpor_provisioner.errors import Status, TorporError
from torpor_router.cli.failures import Failure

ROOT = Path(__file__).parents[2]


def _generator() -> ModuleType:
    loader = SourceFileLoader("torpor_docs", str(ROOT / ".ci" / "docs"))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


docs = _generator()
ERRORS: list[type[TorporError]] = docs.errors()


@pytest.mark.parametrize("name", docs.PAGES)
def test_the_page_is_as_the_code_says(name: str) -> None:
    written = (docs.ROOT / name).read_text(encoding="utf-8")
    assert written == docs.PAGES[name](), "run 'make docs'"


def test_every_code_stands_for_one_thing() -> None:
    assert len(ERRORS) > 50
    assert [code for code, n in Counter(error.code for error in ERRORS).items() if n > 1] == []
    told_alike = Counter((error.cause, error.remedy) for error in ERRORS)
    assert [told for told, n in told_alike.items() if n > 1] == []


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.code)
def test_a_code_keeps_the_rules(error: type[TorporError]) -> None:
    assert re.fullmatch(r"TPR-[1-5]\d{3}", error.code)
    assert isinstance(error.status, Status)
    package = error.__module__.partition(".")[0]
    assert package in docs.FAMILIES[error.code[4]][1]
    assert (package == "torpor_provisioner") == error.code.startswith("TPR-22")
    for line in (error.cause, error.remedy):
        assert line == line.strip()
        assert 0 < len(line) <= 120
        assert line.isprintable()
        assert "|" not in line, "it would break the table"
        assert not line.endswith("."), "the message adds it"
        assert line.isascii(), "it travels in metadata"


def test_every_code_can_be_met() -> None:
    """No code is published that nothing raises: its class is named outside its own definition."""
    sources = "\n".join(
        path.read_text(encoding="utf-8")
        for folder in ("router", "statemachine", "provisioner")
        for path in (ROOT / folder).rglob("*.py")
    )
    uses = re.sub(r"^(class \w+|(from|import) .*|    \w+,$)", "", sources, flags=re.MULTILINE)
    named = set(re.findall(r"\w+", uses))
    assert [error.__name__ for error in ERRORS if error.__name__ not in named] == []


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.code)
def test_a_message_can_be_taken_apart_again(error: type[TorporError]) -> None:
    made = error("some. detail")
    assert Failure.read(error.status, str(made), dict(made.fields)) == Failure.of(made)
