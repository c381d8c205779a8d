"""Templates into HTML. Everything that is put into one is escaped."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from torpor_router.durations import ago, duration
from torpor_router.status.views import in_short

_HERE = Path(__file__).parent
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


class Pages:
    """Templates, and the files beside them: their content and type by name."""

    def __init__(self) -> None:
        self.files = {
            file.name: (file.read_bytes(), _TYPES[file.suffix])
            for file in sorted((_HERE / "static").iterdir())
            if file.suffix in _TYPES
        }
        everything = b"".join(content for content, _ in self.files.values())
        self._environment = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            auto_reload=False,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals["version"] = hashlib.sha256(everything).hexdigest()[:12]
        self._environment.filters.update(
            duration=duration, ago=ago, moment=_moment, iso=_iso, short=in_short
        )

    def render(self, name: str, **values: Any) -> str:
        return self._environment.get_template(name).render(**values)


def _moment(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _iso(at: datetime) -> str:
    return at.astimezone(UTC).isoformat()
