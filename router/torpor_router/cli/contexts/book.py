"""Contexts as values, read from JSON and written as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from torpor_router.names import DEFAULT_DOOR_PORT, read_address


@dataclass(frozen=True, slots=True)
class Context:
    """A router, and how it is spoken to. What is empty is not set; files are absolute paths.

    `tls` is None where the address decides; `org` is for tokens of more than one;
    `satellite` is the one that is meant where none is named.
    """

    address: str
    token: str = field(default="", repr=False)
    org: str = ""
    ca: str = ""
    client_cert: str = ""
    client_key: str = ""
    tls: bool | None = None
    satellite: str = ""


@dataclass(slots=True)
class Contexts:
    """The contexts by name, and the name of the selected one, if any."""

    selected: str = ""
    by_name: dict[str, Context] = field(default_factory=dict)


def written(contexts: Contexts) -> str:
    """The JSON that `parsed` reads back."""
    return json.dumps(
        {
            "selected": contexts.selected,
            "contexts": {name: asdict(each) for name, each in contexts.by_name.items()},
        },
        indent=2,
    )


def parsed(text: str) -> Contexts:
    """
    Raises:
        ValueError: the text is not such JSON; the message quotes no value, which may be a token.
    """
    try:
        whole = json.loads(text)
    except RecursionError:
        raise ValueError("it is not JSON: nested too deeply") from None
    except ValueError as error:
        at = f", line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise ValueError(f"it is not JSON{at}") from None
    selected, contexts = _of(whole, "the whole", dict).get("selected", ""), whole.get("contexts")
    return Contexts(
        _of(selected, "'selected'", str),
        {name: _context(name, each) for name, each in _of(contexts, "'contexts'", dict).items()},
    )


def _context(name: str, given: object) -> Context:
    place = f"the context {name!r}"
    whole: Mapping[str, Any] = _of(given, place, dict)
    values: dict[str, Any] = {}
    for each in fields(Context):
        if each.name in whole:
            kind = (bool, type(None)) if each.name == "tls" else str
            values[each.name] = _of(whole[each.name], f"{each.name!r} of {place}", kind)
    try:
        read_address(values.get("address", ""), DEFAULT_DOOR_PORT)
    except ValueError:
        raise ValueError(f"'address' of {place} is not HOST:PORT") from None
    return Context(**values)


def _of(value: object, what: str, kind: type | tuple[type, ...]) -> Any:
    if not isinstance(value, kind):
        raise ValueError(f"{what} is of another kind than it must be")  # noqa: TRY004 - of the file
    return value
