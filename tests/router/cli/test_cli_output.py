"""What commands print, and how they fail."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from torpor_provisioner.errors import Capacity, Invalid, Status, TorporError
from torpor_router.cli.failures import Commands, Exit, Failed, Failure, printable  # type: ignore[attr-defined]
from torpor_router.cli.output import Column, Output, shown, with_output
from torpor_router.durations import duration
from torpor_router.errors import Internal, MalformedRequest
from torpor_statemachine.lifecycle.states import State

NOON = datetime(2026, 5, 4, 12, 0, 0, 500, UTC)


@click.group(cls=Commands)
def program() -> None:
    pass


@program.command()
@click.option("--how")
@with_output
def fail(how: str, output: Output) -> None:
    match how:
        case "capacity":
            raise Capacity("m7i.large in eu-central-1a")
        case "ctrl-c":
            raise KeyboardInterrupt
        case "escape":
            raise Internal("\x1b[2J\x07bad")
        case "remote":
            error = Internal("there")
            raise Failed(Failure.read(Status.INTERNAL, str(error), dict(error.fields)))


@program.command()
@with_output
def show(output: Output) -> None:
    if output.as_json:
        output.json({"state": State.ASLEEP, "id": UUID(int=1), "at": NOON, "for": timedelta(0, 90)})
    else:
        output.table(["name", Column("why", wraps=True)], [["acme/one", "[red]x[/red] \x1b[31m"]])


def ran(*arguments: str) -> click.testing.Result:
    return CliRunner().invoke(program, arguments)


def test_a_failure_says_what_happened_and_what_to_do() -> None:
    result = ran("fail", "--how", "capacity")
    assert result.exit_code == Exit.UNAVAILABLE
    assert result.stdout == ""
    assert result.stderr == (
        f"TPR-2202 {Capacity.cause}: m7i.large in eu-central-1a\n{Capacity.remedy}\n"
    )


def test_a_failure_under_json_is_json() -> None:
    result = ran("fail", "--how", "capacity", "--json")
    assert result.exit_code == Exit.UNAVAILABLE
    assert result.stdout == ""
    assert json.loads(result.stderr)["error"] == {
        "code": "TPR-2202",
        "status": "UNAVAILABLE",
        "message": f"{Capacity.cause}: m7i.large in eu-central-1a",
        "remedy": Capacity.remedy,
    }


def test_an_interrupted_command_ends_as_shells_expect() -> None:
    assert ran("fail", "--how", "ctrl-c").exit_code == Exit.INTERRUPTED


def test_a_wrong_option_is_a_usage_error() -> None:
    result = ran("fail", "--what")
    assert result.exit_code == Exit.USAGE
    assert "--what" in result.stderr


def test_a_failure_told_by_a_router_is_told_alike() -> None:
    result = ran("fail", "--how", "remote")
    assert result.exit_code == Exit.FAILED
    assert result.stderr == f"TPR-5002 {Internal.cause}: there\n{Internal.remedy}\n"


def test_another_machines_words_do_not_move_the_cursor() -> None:
    for arguments in (["fail", "--how", "escape"], ["show"]):
        result = ran(*arguments)
        assert "\x1b" not in result.output
        assert "\x07" not in result.output


@pytest.mark.parametrize(
    ("error", "code"),
    [(Invalid("x"), 2), (MalformedRequest(), 2), (Capacity(), 4), (Internal(), 1)],
)
def test_exit_codes(error: TorporError, code: int) -> None:
    assert Failure.of(error).exit == code


def test_every_status_has_an_exit_code_that_says_failure() -> None:
    assert all(Failure(status, "", "").exit is not Exit.OK for status in Status)


@given(st.sampled_from([Capacity, Invalid, Internal]), st.text(max_size=40))
def test_a_routers_message_is_read_back(kind: type[TorporError], detail: str) -> None:
    error = kind(detail)
    assert Failure.read(error.status, str(error), dict(error.fields)) == Failure.of(error)


@pytest.mark.parametrize("message", ["", "Socket closed", "TPR-1 x. y", "TPR-1001 no end"])
def test_other_messages_are_shown_as_they_are(message: str) -> None:
    failure = Failure.read(Status.UNAVAILABLE, message, {})
    assert failure.code == ""
    assert str(failure) == (message or "UNAVAILABLE")


def test_json_is_made_of_plain_values() -> None:
    told = json.loads(ran("show", "--json").stdout)
    assert told == {
        "state": "asleep",
        "id": "00000000-0000-0000-0000-000000000001",
        "at": "2026-05-04T12:00:00.000500+00:00",
        "for": 90.0,
    }


def test_an_answer_that_cannot_be_written_is_a_failure_in_one_line() -> None:
    source = (
        "import click; from torpor_router.cli.failures import Commands\n"
        "from torpor_router.cli.output import with_output\n"
        "main = click.group(cls=Commands)(lambda: None)\n"
        "main.command('tell')(with_output(lambda output: output.json('something')))\n"
        "main(['tell'])"
    )
    with Path("/dev/full").open("w") as full:
        told = subprocess.run(
            [sys.executable, "-c", source],
            check=False,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert told.returncode == Exit.FAILED
    assert told.stderr == "Error: the answer cannot be written: No space left on device\n"


def test_a_piped_table_has_whole_lines_and_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    long = "x" * 500
    Output(as_json=False).table(["name", "failure"], [["[bold]one", long], [None, State.ASLEEP]])
    header, first, second = capsys.readouterr().out.splitlines()
    assert header.split() == ["NAME", "FAILURE"]
    assert first.split() == ["[bold]one", long]
    assert second.split() == ["-", "asleep"]


def test_an_empty_table_is_a_remark(capsys: pytest.CaptureFixture[str]) -> None:
    Output(as_json=False).table(["name"], [], empty="No satellites.")
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "No satellites.\n")


def test_a_record_has_a_line_for_each_field(capsys: pytest.CaptureFixture[str]) -> None:
    Output(as_json=False).record({"name": "acme/one", "since": NOON, "address": None})
    lines = [line.split(None, 1) for line in capsys.readouterr().out.splitlines()]
    assert lines == [["name", "acme/one"], ["since", "2026-05-04 12:00:00Z"], ["address", "-"]]


def test_a_table_fits_its_terminal() -> None:
    script = (
        "from torpor_router.cli.output import *;"
        "Output(as_json=False).table(['name', Column('why', wraps=True)], [['one', 'word ' * 40]])"
    )
    leader, follower = pty.openpty()
    environment = {**os.environ, "COLUMNS": "50", "TERM": "xterm"}
    with os.fdopen(leader, "rb", 0) as terminal:
        process = subprocess.Popen([sys.executable, "-c", script], stdout=follower, env=environment)
        os.close(follower)
        printed = b""
        try:
            while part := terminal.read(4096):
                printed += part
        except OSError:  # Linux's way of saying that the other end is closed
            pass
        assert process.wait(60) == 0
    lines = click.unstyle(printed.decode()).split("\r\n")
    assert len(lines) > 4
    assert max(map(len, lines)) <= 50


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0, "0s"),
        (0.031, "31ms"),
        (3.24, "3.2s"),
        (9.97, "10s"),
        (59.7, "1m"),
        (725, "12m 5s"),
        (12_000, "3h 20m"),
        (349_200, "4d 1h"),
        (-90, "-1m 30s"),
    ],
)
def test_durations(seconds: float, told: str) -> None:
    assert duration(timedelta(seconds=seconds)) == told


def test_what_is_shown_of_values() -> None:
    assert [shown(v) for v in (None, "", True, 0, State.ASLEEP)] == [
        *("-", "-", "yes", "0"),
        "asleep",
    ]
    assert printable("naïve\u202e") == "naïve\ufffd"
