"""Log lines: for people, for programs, and never with a token in them."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torpor_router.serve.logs import _OUR_OWN, LEVELS, JsonLines, TextLines, set_up, without_secrets
from torpor_router.tokens import mint

log = logging.getLogger("torpor_router.somewhere")


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = before
    for name in _OUR_OWN:
        logging.getLogger(name).setLevel(logging.NOTSET)
    logging.captureWarnings(capture=False)


def said(form: str, *arguments: Any, **options: Any) -> str:
    stream = io.StringIO()
    set_up(form, stream=stream)
    log.info(*arguments, **options)
    return stream.getvalue()


def test_a_line_for_people() -> None:
    told = said("text", "refused %s", "one", extra={"code": "TPR-1101", "peer": "a b"})
    time, level, *rest = told.split()
    assert time.endswith("+00:00")
    assert level == "INFO"
    assert " ".join(rest) == ('torpor_router.somewhere: refused one code=TPR-1101 peer="a b"')


def test_a_line_for_programs() -> None:
    told = json.loads(said("json", "refused %s", "one\ntwo", extra={"code": "TPR-1101", "n": 3}))
    assert told.pop("time").endswith("+00:00")
    assert told == {
        "level": "info",
        "logger": "torpor_router.somewhere",
        "message": "refused one\ntwo",
        "code": "TPR-1101",
        "n": 3,
    }


@pytest.mark.parametrize("form", ["text", "json"])
def test_an_exception_is_told_with_its_traceback(form: str) -> None:
    try:
        _ = {}["no way"]  # type: ignore[index]
    except KeyError:
        told = said(form, "failed", exc_info=True, extra={"code": "TPR-5002"})
    assert "KeyError: 'no way'" in told  # type: ignore[possibly-undefined]
    assert "TPR-5002" in told.splitlines()[0]
    if form == "json":
        assert "Traceback" in json.loads(told)["exception"]


@pytest.mark.parametrize("formatter", [TextLines(), JsonLines()])
def test_a_token_is_blotted_out_wherever_it_stands(formatter: logging.Formatter) -> None:
    token = mint()
    for message, arguments in (
        (f"got {token}", None),
        ("got %r", ({"authorization": f"Bearer {token}"},)),
        ("authorization: bearer %s", ("another-kind.of/long.token==",)),
    ):
        record = logging.LogRecord("x", logging.INFO, __file__, 1, message, arguments, None)
        record.token = token
        told = formatter.format(record)
        assert token not in told
        assert "another-kind" not in told
        assert "***" in told
        if isinstance(formatter, JsonLines):
            assert json.loads(told)["token"] == "***"


EVIL = "a\x1b[2J\x07\r\nroot: all is well\x9b31m\x7f\u202e\u2028b"


@pytest.mark.parametrize("form", ["text", "json"])
def test_nothing_that_a_terminal_obeys_reaches_the_log(form: str) -> None:
    """A dead worker's last words are a tenant's, and stand in failures that are logged."""
    try:
        _ = {}[EVIL]  # type: ignore[index]
    except KeyError as error:
        error.add_note(EVIL)
        told = said(
            form, "failed: %s", EVIL, exc_info=True, extra={"word": EVIL, "blank": f" {EVIL}"}
        )
    assert told.endswith("\n")  # type: ignore[possibly-undefined]
    assert all(line.isprintable() for line in told[:-1].split("\n")), ascii(told)
    assert told.count("root: all is well") >= 4
    assert not [line for line in told.split("\n") if line.startswith("root:")]
    if form == "json":
        assert json.loads(told)["word"] == EVIL, "programs get what was said"


def test_lines_of_libraries_that_strangers_cause_are_limited() -> None:
    stream = io.StringIO()
    set_up("text", stream=stream)
    for _ in range(5_000):
        logging.getLogger("grpc._cython.cygrpc").error("Unexpected [DecodeError] raised")
        logging.getLogger("grpcish").error("another's")
    lines = stream.getvalue().splitlines()
    assert len([line for line in lines if "DecodeError" in line]) < 200
    assert len([line for line in lines if "another's" in line]) == 5_000


@given(st.text(max_size=200))
def test_json_lines_stay_json(text: str) -> None:
    record = logging.LogRecord("x", logging.INFO, __file__, 1, "%s", (f"Bearer {text}",), None)
    assert "\n" not in (line := JsonLines().format(record))
    assert json.loads(line)["level"] == "info"


@pytest.mark.parametrize(
    "text", ["tpr_short", "a bearer of news", "TPR-1101 The token is not known here"]
)
def test_what_is_no_token_is_left_alone(text: str) -> None:
    assert without_secrets(text) == text


def test_warnings_are_log_lines() -> None:
    stream = io.StringIO()
    set_up("json", stream=stream)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=False)
        logging.captureWarnings(capture=True)
        warnings.warn("mind the gap", stacklevel=1)
    assert "mind the gap" in json.loads(stream.getvalue())["message"]


@pytest.mark.parametrize("level", LEVELS)
def test_the_level_is_the_least_that_is_said(level: str) -> None:
    stream = io.StringIO()
    set_up("json", level, stream)
    for each in LEVELS:
        log.log(logging.getLevelNamesMapping()[each.upper()], each)
    told = [json.loads(line)["level"] for line in stream.getvalue().splitlines()]
    assert told == list(LEVELS[LEVELS.index(level) :])


@pytest.mark.parametrize("library", ["hpack.hpack", "asyncio", "botocore", "grpc"])
def test_debug_lines_of_libraries_are_not_said(library: str) -> None:
    """hpack's show header fields: tokens, too."""
    stream = io.StringIO()
    set_up("text", "debug", stream)
    logging.getLogger(library).debug("Bearer secret")
    assert not stream.getvalue()
