"""The files of `data/`, with the blanks in them filled in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

BLANK = re.compile(r"@([A-Z_]+)@")


@dataclass(frozen=True, slots=True)
class File:
    """One file of a satellite."""

    path: str
    content: str
    executable: bool = False

    @property
    def mode(self) -> str:
        return "0755" if self.executable else "0644"

    def __repr__(self) -> str:
        return f"<File {self.path} {self.mode} {len(self.content)} B>"


def filled(name: str, blanks: Mapping[str, object]) -> str:
    """The text of `data/name`; a blank that there is no value for is a KeyError."""
    text = files(__package__).joinpath("data", name).read_text(encoding="utf-8")
    return BLANK.sub(lambda found: str(blanks[found[1]]), text)
