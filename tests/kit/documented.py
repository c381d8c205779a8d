"""Whether what a command prints with --json is what docs/schemas says, and nothing besides."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]

SCHEMAS = Path(__file__).parents[2] / "docs/schemas"


@cache
def schema(name: str) -> Any:
    """docs/schemas/NAME.json, which is itself found to be a schema."""
    whole = json.loads((SCHEMAS / f"{name}.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(whole)
    return _closed(whole)


def as_documented(answer: Any, name: str, command: str = "") -> None:
    """Against docs/schemas/NAME.json; of torpor.json against what it says of `command`.

    Raises:
        jsonschema.ValidationError: a key is missing, or stands in no schema, or is of another type.
    """
    whole = schema(name)
    if command:
        whole = {**whole["properties"][command], "$defs": whole["$defs"]}
    jsonschema.Draft202012Validator(whole).validate(answer)


def _closed(part: Any) -> Any:
    """No key may be there that the schema lacks. Readers must bear new ones."""
    if isinstance(part, list):
        return [_closed(each) for each in part]
    if not isinstance(part, dict):
        return part
    closed = {key: _closed(each) for key, each in part.items()}
    if part.get("type") == "object" and "properties" in part:
        closed["additionalProperties"] = False
    return closed
