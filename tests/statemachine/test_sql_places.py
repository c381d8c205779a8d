"""SQL is where its tables are looked after, and nowhere else."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PLACES = (
    "statemachine/torpor_statemachine/store/",
    "statemachine/torpor_statemachine/postgres/",  # the server's own tables, and migrations
    "router/torpor_router/access/",
    "router/torpor_router/notices/",
    "router/torpor_router/policies/",
    "router/torpor_router/demo/stage.py",  # makes databases of its own
)
SQL = re.compile(
    r"\bselect\b.+\bfrom\b|\binsert\s+into\b|\bupdate\s+\w+\s+set\b|\bdelete\s+from\b",
    re.IGNORECASE | re.DOTALL,
)


def _texts(file: Path) -> Iterator[ast.Constant]:
    """Every string but docstrings."""
    tree = ast.parse(file.read_text())
    words = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in words:
            yield node


def test_sql_is_in_one_place_a_concern() -> None:
    found = []
    for folder in ("router/torpor_router", "statemachine/torpor_statemachine", "provisioner"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            name = file.relative_to(ROOT).as_posix()
            if name.startswith(PLACES) or name.endswith("_pb2.py"):
                continue
            found += [f"{name}:{each.lineno}" for each in _texts(file) if SQL.search(each.value)]  # type: ignore[arg-type]
    assert not found


def test_the_search_finds_sql() -> None:
    store = ROOT / "statemachine/torpor_statemachine/store"
    for file in ("queries.py", "turns.py", "census.py"):
        assert any(SQL.search(each.value) for each in _texts(store / file))  # type: ignore[arg-type]
