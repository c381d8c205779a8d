"""A notice as a receiver reads it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from torpor_statemachine.errors import recall

_SLACK = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


@dataclass(frozen=True, slots=True)
class Notice:
    """`org` is "" for the operators' affairs, `satellite` for what concerns no single one.
    `failure` is a code and its detail, as `errors.record` writes them."""

    id: UUID
    at: datetime
    kind: str
    org: str
    satellite: str
    failure: str


def body(notice: Notice, form: str) -> bytes:
    """`form` is "json" or "slack"."""
    made = _slack(notice) if form == "slack" else _json(notice)
    return json.dumps(made, ensure_ascii=False, separators=(",", ":")).encode()


def about(notice: Notice) -> str:
    """What it is about, in a word: "acme/web", "acme", or ""."""
    return "/".join(each for each in (notice.org, notice.satellite) if each)


def _json(notice: Notice) -> dict[str, Any]:
    error = recall(notice.failure)
    return {
        "type": notice.kind,
        "timestamp": notice.at.astimezone(UTC).isoformat(),
        "id": str(notice.id),
        "data": {
            "org": notice.org,
            "satellite": notice.satellite,
            "code": error.code,
            "message": error.message,
            "remedy": error.remedy,
        },
    }


def _slack(notice: Notice) -> dict[str, Any]:
    error = recall(notice.failure)
    of = f"*{about(notice)}*: " if about(notice) else ""
    text = f"{error.code} {error.message}. {error.remedy}.".translate(_SLACK)
    return {"text": f"{of}{text}"}
