"""Log lines of a node: for people, or one JSON object each."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import IO, Any

from torpor_router.rate_limited_log import RateLimitFilter
from torpor_router.tokens import PREFIX

FORMATS = ("text", "json")
LEVELS = ("debug", "info", "warning", "error")
_OUR_OWN = ("torpor", "torpor_router", "torpor_statemachine", "torpor_provisioner")
_TEXT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
_SECRET = re.compile(
    re.escape(PREFIX) + r"[A-Za-z0-9_-]{20,}|(?<=\bBearer )[A-Za-z0-9._~+/=-]{16,}", re.IGNORECASE
)
_STRANGERS = ("grpc", "asyncio")  # libraries that log what strangers do, tracebacks too
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def set_up(form: str, level: str = "info", stream: IO[str] | None = None) -> None:
    """Send every logger's lines to `stream`, standard error by default.

    Debug lines are Torpor's own only: those of libraries may show what they were given, header
    fields with tokens in them too.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    handler.addFilter(RateLimitFilter(_STRANGERS))
    number = logging.getLevelNamesMapping()[level.upper()]
    logging.basicConfig(level=max(number, logging.INFO), handlers=[handler], force=True)
    for name in _OUR_OWN:
        logging.getLogger(name).setLevel(number)
    logging.captureWarnings(capture=True)


class TextLines(logging.Formatter):
    """A line with its time in UTC. Anything in `extra` stands behind it as ``name=value``.

    What cannot be printed is written as an escape. Only a traceback takes more lines, indented.
    """

    def __init__(self) -> None:
        super().__init__(_TEXT)

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802 - the library's
        return _time(record)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - likewise
        extra = "".join(f" {name}={_shown(value)}" for name, value in _extra(record).items())
        return _escaped(super().formatMessage(record) + extra)

    def formatException(self, ei: Any) -> str:  # noqa: N802 - likewise
        lines = super().formatException(ei).split("\n")
        return "\n".join(f"  {_escaped(line)}" for line in lines)

    def format(self, record: logging.LogRecord) -> str:
        return without_secrets(super().format(record))


class JsonLines(logging.Formatter):
    """``time``, ``level``, ``logger``, ``message``, whatever is in `extra`, and ``exception``."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_extra(record),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return without_secrets(
            _escaped(json.dumps(entry, ensure_ascii=False, default=str), _in_json)
        )


def without_secrets(text: str) -> str:
    """The text with anything that looks like a token blotted out, from whatever source."""
    return _SECRET.sub("***", text)


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _OWN}


def _escaped(text: str, escape: Callable[[str], str] = lambda each: ascii(each)[1:-1]) -> str:
    """The text without what a terminal would obey, or take for another line."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else escape(each) for each in text)


def _in_json(character: str) -> str:
    return json.dumps(character)[1:-1]


def _shown(value: object) -> str:
    text = str(value)
    return text if text and not re.search(r"[\s\"=]", text) else json.dumps(text)
