"""What a page is asked for: the query of its address, read or refused."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlencode

from torpor_router.status.errors import BadFilter
from torpor_statemachine.lifecycle.states import State
from torpor_statemachine.store.overview import Filter

LONGEST = 1_000  # characters of a query
_LONGEST_PART = 100
_KNOWN = frozenset(("q", "state", "label", "after"))
_NAME = re.compile(r"[a-z0-9~-]{1,60}/[a-z0-9-]{1,60}")
SHOWN = tuple(state for state in State if state is not State.TERMINATED)


def read(query: Mapping[str, str]) -> Filter:
    """`q` is part of a name, `state` a state, `label` KEY or KEY=VALUE, `after` the satellite
    that the page before ended with.

    Raises:
        BadFilter: it is none of these, or one that nothing can be found by.
    """
    if unknown := sorted(query.keys() - _KNOWN):
        raise BadFilter(f"nothing is filtered by {unknown[0][:40]!r}")
    parts = {name: query.get(name, "").strip() for name in _KNOWN}
    for name, value in parts.items():
        if len(value) > _LONGEST_PART or not (value.isprintable() and _is_text(value)):
            raise BadFilter(f"{name!r} is longer than {_LONGEST_PART} characters, or no text")
    label, is_exact, value = parts["label"].partition("=")
    return Filter(
        text=parts["q"].lower(),
        state=_state(parts["state"]),
        label=label or None,
        value=value if is_exact else None,
        after=_after(parts["after"]),
    )


def written(only: Filter, **other: str) -> str:
    """The query of the page with this filter; `other` parts count instead, empty ones are left
    out."""
    label = only.label or ""
    parts = {
        "q": only.text,
        "state": only.state.value if only.state else "",
        "label": label if only.value is None else f"{label}={only.value}",
        **other,
    }
    text = urlencode({name: value for name, value in parts.items() if value})
    return f"?{text}" if text else "?"


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a character
        return False
    return True


def _state(text: str) -> State | None:
    if not text:
        return None
    if text not in SHOWN:
        raise BadFilter(f"there is no state {text[:40]!r}; {', '.join(SHOWN)}")
    return State(text)


def _after(text: str) -> tuple[str, str] | None:
    if not text:
        return None
    if not _NAME.fullmatch(text):
        raise BadFilter(f"'after' is no satellite: {text[:40]!r}")
    org, _, name = text.partition("/")
    return org, name
