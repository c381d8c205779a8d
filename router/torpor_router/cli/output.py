"""What a command prints: tables that fit the terminal for people, JSON for programs.

Standard output holds the answer and nothing else; failures (`cli.failures`, with the exit codes)
and remarks go to standard error.
"""

from __future__ import annotations

import dataclasses
import errno
import functools
import json
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import click

from torpor_provisioner.errors import Status
from torpor_router.cli.failures import AS_JSON, Failed, Failure, printable
from torpor_router.durations import duration

_Command = TypeVar("_Command", bound=Callable[..., Any])
_GAP = 2  # columns of the terminal between two of a table
_NO_LIMIT = 100_000  # columns of what is not a terminal: a pipe wants whole lines
_COLOURS = {
    "running": "green",
    "asleep": "blue",
    "failed": "bold red",
    "terminated": "dim",
    "terminating": "dim",
    "launching": "yellow",
    "waking": "yellow",
    "sleeping": "yellow",
    "updating": "yellow",
}


def with_output(command: _Command) -> _Command:
    """Give a click command the option ``--json`` and the argument `output`."""

    @click.option(
        "--json",
        "as_json",
        is_flag=True,
        is_eager=True,  # known before anything else can fail
        callback=_remember,
        help="Print JSON, for programs.",
    )
    @functools.wraps(command)
    def wrapped(*arguments: Any, as_json: bool, **options: Any) -> Any:
        return command(*arguments, output=Output(as_json=as_json), **options)

    return wrapped  # type: ignore[return-value]  # click replaces the signature anyway


def _remember(context: click.Context, _: click.Parameter, as_json: bool) -> bool:  # noqa: FBT001 - click calls it so
    context.meta[AS_JSON] = as_json
    return as_json


@dataclasses.dataclass(frozen=True, slots=True)
class Column:
    """A column of a table. One that wraps gives way where the terminal is narrow."""

    title: str
    wraps: bool = False
    right: bool = False


class Output:
    """Where one command prints to. `as_json` says whether a program reads it."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json

    def __repr__(self) -> str:
        return f"<Output {'for programs' if self.as_json else 'for people'}>"

    def json(self, value: object) -> None:
        """Print a value. Times become ISO 8601, durations seconds, dataclasses objects."""
        _write(json.dumps(value, indent=2, ensure_ascii=False, default=_plain))

    def line(self, value: object) -> None:
        """Print a value on one line, for commands whose answer comes bit by bit."""
        _write(json.dumps(value, ensure_ascii=False, default=_plain))

    def say(self, text: str) -> None:
        """Print a line of the answer for a person."""
        _write(printable(text))

    def answer(self, value: object, text: str) -> None:
        """Print the value for a program, or the text for a person."""
        if self.as_json:
            self.json(value)
        else:
            self.say(text)

    def paragraph(self, text: str) -> None:
        """Print sentences for a person, broken to fit a terminal."""
        if sys.stdout.isatty():
            width = min(100, shutil.get_terminal_size().columns)
            text = textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False)
        self.say(text)

    def remark(self, text: str) -> None:
        """Print a line beside the answer, to standard error."""
        click.echo(printable(text), err=True)

    def table(
        self,
        columns: Sequence[str | Column],
        rows: Iterable[Sequence[object]],
        *,
        empty: str = "",
    ) -> None:
        """Print rows for a person; `empty` is said, to standard error, where there are none."""
        cells = [[shown(cell) for cell in row] for row in rows]
        if not cells and empty:
            self.remark(empty)
            return
        self._print(
            [Column(column) if isinstance(column, str) else column for column in columns],
            cells,
            header=True,
        )

    def record(self, fields: Mapping[str, object]) -> None:
        """Print one thing's fields for a person, a line each."""
        rows = [[name, shown(value)] for name, value in fields.items()]
        self._print([Column("field"), Column("value", wraps=True)], rows, header=False)

    def _one_by_one(self, columns: Sequence[Column], rows: list[list[str]]) -> None:
        """Rows of a table that the terminal is too narrow for: a line for each field."""
        for number, row in enumerate(rows):
            if number:
                _write("")
            titles = [Column("field"), Column("value", wraps=True)]
            fields = [[column.title, cell] for column, cell in zip(columns, row, strict=True)]
            self._print(titles, fields, header=False)

    def _print(self, columns: Sequence[Column], rows: list[list[str]], *, header: bool) -> None:
        from rich.console import Console  # not for --help
        from rich.table import Table
        from rich.text import Text

        terminal = sys.stdout.isatty()
        console = Console(
            file=sys.stdout,
            width=None if terminal else _NO_LIMIT,
            color_system=None if os.environ.get("NO_COLOR") else "auto",
        )
        if not _fits(columns, rows, console.width):
            columns = [dataclasses.replace(column, wraps=True) for column in columns]
            if header and not _fits(columns, rows, console.width):
                self._one_by_one(columns, rows)
                return
        table = Table(box=None, show_header=header, pad_edge=False, header_style="bold")
        for column, width in zip(columns, _widths(columns, rows, console.width), strict=True):
            table.add_column(
                Text(column.title.upper()),
                width=width,
                no_wrap=not column.wraps,
                overflow="fold" if column.wraps else "ellipsis",
                justify="right" if column.right else "left",
            )
        for row in rows:
            table.add_row(*(Text(cell, style=_COLOURS.get(cell, "")) for cell in row))
        with console.capture() as captured:
            console.print(table)
        _write("\n".join(line.rstrip() for line in captured.get().splitlines()))


def _fits(columns: Sequence[Column], rows: list[list[str]], width: int) -> bool:
    """Whether no word is broken; those of a column that does not wrap count as one."""
    return sum(_needed(columns, rows)) + _GAP * (len(columns) - 1) <= width


def _needed(columns: Sequence[Column], rows: list[list[str]]) -> list[int]:
    """How wide each column is at least."""
    needed = []
    for column, *cells in zip(columns, *rows, strict=True):
        texts = [column.title, *cells]
        words = [word for text in texts for word in text.split()] if column.wraps else texts
        needed.append(max(map(len, words), default=0))
    return needed


def _widths(columns: Sequence[Column], rows: list[list[str]], width: int) -> Sequence[int | None]:
    """How wide each column is to be; None leaves it to the table.

    Where the terminal is too narrow for whole lines, no column gives way by more than its longest
    word allows: the table by itself would break a name to keep a date on one line.
    """
    wanted = [
        max(map(len, texts)) for texts in zip([each.title for each in columns], *rows, strict=True)
    ]
    needed = _needed(columns, rows)
    spare = width - _GAP * (len(columns) - 1) - sum(needed)
    lacking = sum(wanted) - sum(needed)
    if not 0 <= spare < lacking:
        return [None] * len(columns)
    return [
        least + (whole - least) * spare // lacking
        for least, whole in zip(needed, wanted, strict=True)
    ]


def _write(text: str) -> None:
    try:
        click.echo(text)
    except OSError as error:
        if error.errno == errno.EPIPE:  # its reader has had enough, which click knows
            raise
        # else Python tries once more as it ends, and complains
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        message = f"the answer cannot be written: {error.strerror}"
        raise Failed(Failure(Status.UNKNOWN, "", message)) from error


def shown(value: object) -> str:
    """A value in a table's cell: a dash for nothing, times to the second in UTC."""
    match value:
        case None | "":
            return "-"
        case datetime():
            return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"
        case timedelta():
            return duration(value)
        case bool():
            return "yes" if value else "no"
        case _:
            return printable(str(value))


def _plain(value: object) -> object:
    """What `json` itself does not know."""
    match value:
        case datetime():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        case _:
            return str(value)
