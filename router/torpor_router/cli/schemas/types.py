"""A type as a JSON schema, as `cli.output` prints its values."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from types import NoneType, UnionType
from typing import Any, TypeAlias, Union, get_args, get_origin, get_type_hints
from uuid import UUID

Schema: TypeAlias = dict[str, Any]
# A type, an object with these keys, a list of one shape, or a tuple of words
Shape: TypeAlias = Any

_PLAIN: dict[Any, Schema] = {
    str: {"type": "string"},
    UUID: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    NoneType: {"type": "null"},
    datetime: {"type": "string", "format": "date-time"},
    timedelta: {"type": "number", "description": "seconds"},
    date: {"type": "string", "format": "date"},
    Decimal: {"type": "string", "description": "a decimal number, which loses nothing as text"},
    Any: {},
}


class Schemas:
    """Schemas of one document. Each dataclass is defined once, in `definitions`, by its name.

    `words` are the values of fields that are text in the code: by (dataclass, field).
    """

    def __init__(self, words: Mapping[tuple[type, str], tuple[str, ...]]) -> None:
        self._words = words
        self._named: dict[str, type] = {}
        self.definitions: dict[str, Schema] = {}

    def __repr__(self) -> str:
        return f"<Schemas {sorted(self.definitions)}>"

    def of(self, shape: Shape) -> Schema:
        """
        Raises:
            TypeError: a type that is not known here, or two dataclasses of one name.
        """
        match shape:
            case Mapping():
                made = self._object(shape)
            case [each] if isinstance(shape, list):
                made = {"type": "array", "items": self.of(each)}
            case tuple():
                made = {"enum": list(shape)}
            case _ if shape in _PLAIN:
                made = dict(_PLAIN[shape])
            case type() if dataclasses.is_dataclass(shape):
                made = self._reference(shape)
            case type() if issubclass(shape, StrEnum):
                made = {"enum": [each.value for each in shape]}
            case _:
                made = self._generic(shape)
        return made

    def _generic(self, shape: Shape) -> Schema:
        origin: Any = get_origin(shape)
        arguments = get_args(shape)
        if origin in (Union, UnionType):
            return {"anyOf": [self.of(each) for each in arguments]}
        if origin in (list, tuple, Sequence):
            return {"type": "array", "items": self.of(arguments[0])}
        if origin in (dict, Mapping):
            return {"type": "object", "additionalProperties": self.of(arguments[1])}
        raise TypeError(f"no JSON schema is known of {shape!r}")

    def _reference(self, made: type) -> Schema:
        name = made.__name__
        if self._named.setdefault(name, made) is not made:
            raise TypeError(f"two classes are called {name}")
        if name not in self.definitions:
            self.definitions[name] = {}  # it may have itself in it
            fields = keys(made).items()
            shapes = {field: self._words.get((made, field), shape) for field, shape in fields}
            self.definitions[name] = self._object(shapes)
        return {"$ref": f"#/$defs/{name}"}

    def _object(self, shape: Mapping[str, Shape]) -> Schema:
        return {
            "type": "object",
            "properties": {key: self.of(each) for key, each in shape.items()},
            "required": list(shape),
        }


def keys(made: type) -> dict[str, Shape]:
    """The fields of a dataclass with their types, in their order."""
    hints = get_type_hints(made)
    return {field.name: hints[field.name] for field in dataclasses.fields(made)}
