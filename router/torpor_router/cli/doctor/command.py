"""`satellite doctor`."""

from __future__ import annotations

import shutil
import sys
import textwrap
from datetime import timedelta
from typing import Any

import click
from click.core import ParameterSource

from torpor_provisioner.errors import TorporError
from torpor_router.cli.arguments import Duration
from torpor_router.cli.connection import Command, Target, target_of, with_given
from torpor_router.cli.contexts.errors import NoSatelliteSelected
from torpor_router.cli.doctor.finding import Broken, Finding
from torpor_router.cli.examples import with_example
from torpor_router.cli.output import Output, with_output
from torpor_router.cli.satellite_name import known_names, selected

_INDENT = 16
_SOURCES = {
    ParameterSource.COMMANDLINE: "--address",
    ParameterSource.ENVIRONMENT: "TORPOR_ADDRESS",
}


@click.command(cls=Command)
@click.argument("name", required=False, envvar="TORPOR_SATELLITE", shell_complete=known_names)
@click.option(
    "--within",
    type=Duration(),
    default="5s",
    show_default=True,
    metavar="TIME",
    help="How long each check may take.",
)
@with_given
@with_output
@with_example("satellite doctor one")
@click.pass_context
def doctor(
    context: click.Context,
    *,
    name: str | None,
    within: timedelta,
    given: dict[str, Any],
    output: Output,
) -> None:
    """Find out why this machine does not reach the router, or a satellite's worker.

    Checks in order: address, DNS, TCP, TLS, clock, HTTP/2, token, permission; with NAME, or a
    selected satellite, also the route to it and its worker. Wakes nothing. Stops at the first thing
    that is broken and says what to fix. Exit code: 0 if all is well, else 1.
    """
    from torpor_router.cli.doctor.examine import examine

    def target() -> Target:
        try:
            return target_of(context, given, token=False)
        except TorporError as error:
            raise Broken.by("address", error) from error
        except click.UsageError as error:
            raise Broken("address", error.format_message(), "Correct the option") from error

    def named(found: Target) -> str:
        return name or _selected(found)

    by = _SOURCES.get(context.get_parameter_source("address") or ParameterSource.DEFAULT, "")
    findings = []
    for each in examine(target, named, by, within.total_seconds()):
        findings.append(each)
        if not output.as_json:
            _say(each, output)
    fix = "" if findings[-1].ok else findings[-1].remedy
    if output.as_json:
        output.json({"ok": not fix, "checks": findings, "fix": fix})
    elif fix:
        output.say(_folded(f"Fix first: {fix}.", 2))
    else:
        output.say("All is well.")
    if fix:
        context.exit(1)


def _selected(target: Target) -> str:
    try:
        return selected(target)
    except NoSatelliteSelected:
        return ""


def _say(finding: Finding, output: Output) -> None:
    mark = "ok" if finding.ok else "NO"
    code = f"{finding.code} " if finding.code else ""
    output.say(_folded(f"{mark}  {finding.check:<11} {code}{finding.detail}", _INDENT))


def _folded(text: str, indent: int) -> str:
    """In lines of the terminal's width; as one line where there is none."""
    if not sys.stdout.isatty():
        return text
    width = max(shutil.get_terminal_size().columns, 2 * _INDENT)
    return "\n".join(
        textwrap.wrap(text, width, subsequent_indent=" " * indent, break_on_hyphens=False)
    )
