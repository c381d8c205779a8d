"""Processes misled about the time of day, by libfaketime; monotonic clocks stay right."""

from __future__ import annotations

from pathlib import Path

_LIBRARY = (
    Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"),
    Path("/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1"),
)


def faketime() -> Path | None:
    """The library, if it is installed."""
    return next((path for path in _LIBRARY if path.exists()), None)


class Clock:
    """A clock that is wrong by what its file says. Without the library it is right."""

    def __init__(self, file: Path, wrong_by: int = 0) -> None:
        self._file = file
        self.wrong_by = wrong_by
        self.set(wrong_by)

    def set(self, wrong_by: int) -> None:
        """By so many seconds, from about now on."""
        self.wrong_by = wrong_by
        new = self._file.with_suffix(".new")
        new.write_text(f"{wrong_by:+d}\n")
        new.replace(self._file)

    def environment(self) -> dict[str, str]:
        """What a process needs in order to go by it."""
        if (library := faketime()) is None:
            return {}
        return {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": "1",
            # What counts as trust is measured on clocks that nobody can set
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }
