"""Log lines of a node: for people, or one JSON object each."""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import IO, Any

from torpor_router.tokens import PREFIX

FORMATS = ("text", "json")
_TEXT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
_SECRET = re.compile(
    re.escape(PREFIX) + r"[A-Za-z0-9_-]{20,}|(?<=\bBearer )[A-Za-z0-9._~+/=-]{16,}", re.IGNORECASE
)
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def set_up(form: str, level: int = logging.INFO, stream: IO[str] | None = None) -> None:
    """Send every logger's lines to `stream`, standard error by default."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(capture=True)


class TextLines(logging.Formatter):
    """A line with its time in UTC. Anything in `extra` stands behind it as ``name=value``."""

    def __init__(self) -> None:
        super().__init__(_TEXT)

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802 - the library's
        return _time(record)

    def format(self, record: logging.LogRecord) -> str:
        extra = "".join(f" {name}={_shown(value)}" for name, value in _extra(record).items())
        first, *rest = super().format(record).split("\n", 1)  # a traceback follows its line
        return without_secrets("\n".join([first + extra, *rest]))


class JsonLines(logging.Formatter):
    """``time``, ``level``, ``logger``, ``message``, whatever is in `extra`, and ``exception``."""

    def format(self, record: logging.LogRecord) -> str:
        told: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_extra(record),
        }
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return without_secrets(json.dumps(told, ensure_ascii=False, default=str))


def without_secrets(text: str) -> str:
    """The text with anything that looks like a token blotted out, whoever wrote it there."""
    return _SECRET.sub("***", text)


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _OWN}


def _shown(value: object) -> str:
    text = str(value)
    return text if text and not re.search(r"[\s\"=]", text) else json.dumps(text)
