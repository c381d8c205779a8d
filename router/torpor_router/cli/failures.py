"""How a command fails: one line of what happened, one of what to do, and an exit code (`exits`).

Under ``--json`` the failure goes to standard error as JSON, unless the command line cannot be read
so far as to find it there.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Any

import click

from torpor_provisioner.errors import Status, TorporError
from torpor_router.exits import Exit

AS_JSON = "torpor.json"  # in click's meta: whether --json was given
_EXITS = {
    Status.INVALID_ARGUMENT: Exit.USAGE,
    Status.OUT_OF_RANGE: Exit.USAGE,
    Status.NOT_FOUND: Exit.REFUSED,
    Status.ALREADY_EXISTS: Exit.REFUSED,
    Status.PERMISSION_DENIED: Exit.REFUSED,
    Status.UNAUTHENTICATED: Exit.REFUSED,
    Status.FAILED_PRECONDITION: Exit.REFUSED,
    Status.UNIMPLEMENTED: Exit.REFUSED,
    Status.DEADLINE_EXCEEDED: Exit.UNAVAILABLE,
    Status.RESOURCE_EXHAUSTED: Exit.UNAVAILABLE,
    Status.UNAVAILABLE: Exit.UNAVAILABLE,
    Status.ABORTED: Exit.UNAVAILABLE,
}


@dataclass(frozen=True, slots=True)
class Failure:
    """What is told of a failure. `code` is empty for one that has none."""

    status: Status
    code: str
    message: str
    remedy: str = ""

    @classmethod
    def of(cls, error: TorporError) -> Failure:
        return cls(error.status, error.code, error.message, error.remedy)

    @classmethod
    def read(cls, status: Status, details: str, trailers: Mapping[str, str]) -> Failure:
        """A gRPC error's status, details and trailing metadata; see `TorporError.fields`."""
        code, remedy = trailers.get("x-torpor-code", ""), trailers.get("x-torpor-remedy", "")
        message = details.removeprefix(f"{code} ").removesuffix(f". {remedy}")
        return cls(status, code, message or status.name, remedy)

    @property
    def exit(self) -> Exit:
        return _EXITS.get(self.status, Exit.FAILED)

    def __str__(self) -> str:
        shown = f"{self.code} {self.message}" if self.code else self.message
        return f"{shown}\n{self.remedy}" if self.remedy else shown


class Failed(click.ClickException):
    """Ends a command with a failure; click shows it and exits with its code."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(str(failure))
        self.failure = failure
        self.exit_code = failure.exit  # type: ignore[misc]  # click reads the instance's
        context = click.get_current_context(silent=True)
        self._as_json = context is not None and bool(context.meta.get(AS_JSON))

    def show(self, file: IO[Any] | None = None) -> None:
        file = file or sys.stderr
        failure = self.failure
        if self._as_json:
            shown = {
                "code": failure.code,
                "status": failure.status.name,
                "message": failure.message,
                "remedy": failure.remedy,
            }
            click.echo(json.dumps({"error": shown}, ensure_ascii=False), file=file)
            return
        code = failure.code or "Error:"
        if not os.environ.get("NO_COLOR"):
            code = click.style(code, fg="red", bold=True)
        click.echo(f"{code} {printable(failure.message)}", file=file)
        if failure.remedy:
            click.echo(printable(failure.remedy), file=file)


class Interrupted(click.ClickException):
    """Ctrl-C: what was begun elsewhere goes on."""

    exit_code = Exit.INTERRUPTED

    def __init__(self) -> None:
        super().__init__("interrupted")

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(file=file or sys.stderr)  # the shell's prompt begins on a line of its own


class Commands(click.Group):
    """A group of commands whose failures are told as this module says."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except TorporError as error:
            raise Failed(Failure.of(error)) from error
        except click.UsageError as error:
            if not ctx.meta.get(AS_JSON):
                raise
            shown = Failure(Status.INVALID_ARGUMENT, "", error.format_message())
            raise Failed(shown) from error
        except KeyboardInterrupt as error:
            raise Interrupted from error


def printable(text: str) -> str:
    """The text without what a terminal would obey: another's words must not move its cursor."""
    return "".join(
        character if character.isprintable() or character == "\n" else "\N{REPLACEMENT CHARACTER}"
        for character in text
    )
