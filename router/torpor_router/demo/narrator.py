"""How the story is told: chapters, a line while something is waited for, and verdicts."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.table import Table
from rich.text import Text


class Narrator:
    """Writes to `console`, and remembers whether everything came true."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.true = True

    def __repr__(self) -> str:
        return f"<Narrator, {'true' if self.true else 'not true'} so far>"

    def chapter(self, title: str) -> None:
        self._console.print()
        self._console.print(Text(title, style="bold"))

    def say(self, text: str) -> None:
        self._console.print(Text(f"  {text}"))

    def output(self, line: str) -> None:
        """A line that the build printed."""
        self._console.print(Text(f"  │ {line}", style="dim"))

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Say what is waited for, and at the end for how long."""
        began = time.monotonic()
        if self._console.is_terminal:
            with self._console.status(Text(f"{what} …")):
                yield
        else:
            yield
        self.say(f"{what}: {time.monotonic() - began:.1f} s")

    def table(self, titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 2), header_style="dim")
        for title in titles:
            table.add_column(title)
        for row in rows:
            table.add_row(*map(Text, row))
        self._console.print(table)

    def check(self, claim: str, *, true: bool, found: str = "") -> None:
        """State a claim of the story, and whether it came true."""
        self.true = self.true and true
        mark = Text("  ✓ ", style="green") if true else Text("  ✗ ", style="bold red")
        self._console.print(mark + Text(claim if true or not found else f"{claim}: {found}"))

    def paste(self, line: str) -> None:
        """A line to copy; never wrapped."""
        self._console.print(Text(f"    {line}"), soft_wrap=True)
