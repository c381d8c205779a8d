"""How a type becomes a JSON schema, and which cannot."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from torpor_router.cli.schemas.types import Schemas


@dataclass
class Thing:
    name: str
    kind: str
    under: list[Thing]


def other() -> type:
    @dataclass
    class Thing:
        name: str

    return Thing


def test_a_dataclass_is_defined_once_and_may_have_itself_in_it() -> None:
    schemas = Schemas({(Thing, "kind"): ("a", "b")})
    assert schemas.of([Thing]) == {"type": "array", "items": {"$ref": "#/$defs/Thing"}}
    properties = {
        "name": {"type": "string"},
        "kind": {"enum": ["a", "b"]},
        "under": {"type": "array", "items": {"$ref": "#/$defs/Thing"}},
    }
    whole = {"type": "object", "properties": properties, "required": list(properties)}
    assert schemas.definitions == {"Thing": whole}


def test_two_of_one_name_are_refused() -> None:
    schemas = Schemas({})
    schemas.of(Thing)
    with pytest.raises(TypeError, match="Thing"):
        schemas.of(other())


def test_a_type_that_is_not_known_is_refused() -> None:
    with pytest.raises(TypeError, match="complex"):
        Schemas({}).of({"number": complex})
