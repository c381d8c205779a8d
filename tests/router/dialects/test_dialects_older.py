"""Older BuildKits: their workers say less of themselves, and their clients know fewer fields.

What the versions have is in `replaykit.older`.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import replaykit
from doorkit.fakes import satellite_id
from replaykit.older import INFO, LIST, PING, VERSIONS, as_of, fields, inner
from replaykit.recording import WORKER, Recording

from torpor_router.dialects.buildkit_progress import Step
from torpor_router.dialects.last_answers import LastAnswers

TWO = satellite_id("acme/two")
INSPECT = Path(replaykit.__path__[0]) / "recordings" / "buildx-inspect.jsonl"


def answered(recording: Recording, method: str) -> bytes:
    """By its worker, without gRPC's prefix."""
    [message] = (each for each in recording.call(method) if _is_answer(each))
    return message.octets[5:]


def _is_answer(event) -> bool:
    return event.by == WORKER and event.kind == "message"


@pytest.fixture(params=["0.32", "0.12"])
def inspected(request) -> Recording:
    newest = Recording.read(INSPECT)
    return newest if request.param == "0.32" else as_of(request.param, newest)


async def test_info_is_answered_by_what_list_workers_was(house, shelf, to_two, inspected):
    """Who had only ever been asked for its workers was woken by `buildctl --wait`."""
    await shelf.keep(TWO, 1, LIST, answered(inspected, LIST))
    await shelf.keep(TWO, 1, PING, b"what its solver can do")
    async with house.channel() as channel:
        for method in (INFO, LIST):
            call = channel.unary_unary(method)(b"", metadata=to_two, timeout=20)
            assert await call == answered(inspected, method)
    assert house.gate.waited == 0


async def test_its_own_answer_counts_more(answers: LastAnswers, shelf, inspected):
    await shelf.keep(TWO, 1, LIST, answered(inspected, LIST))
    await shelf.keep(TWO, 1, INFO, b"its own")
    found = await answers.find(TWO, INFO)
    assert found is not None
    assert found.octets == b"its own"


@pytest.mark.parametrize("octets", [b"", b"\x0a\x00", b"\xff\xff", b"\x0a\x7f", b"hello"])
async def test_a_worker_that_does_not_say_its_version_is_asked(answers, shelf, octets):
    await shelf.keep(TWO, 1, LIST, octets)
    assert await answers.find(TWO, INFO) is None


async def test_before_info_there_was_no_version(house, shelf, to_two, until):
    """BuildKit 0.9: the worker is woken, and says that it knows no such call."""
    old = as_of("0.9", Recording.read(INSPECT))
    await shelf.keep(TWO, 1, LIST, answered(old, LIST))
    async with house.channel() as channel:
        call = channel.unary_unary(INFO)(b"", metadata=to_two)
        await until(lambda: house.gate.waiting == 1)
        house.gate.awake[TWO].set()
        assert await call == b"the worker"


def test_the_wake_is_told_in_fields_that_all_clients_know():
    """Those of BuildKit 0.9; a newer one of a step's group or a warning would be lost on it."""
    step = Step("waking acme/one", 1_000.0)
    told = [step.begin(), step.line("1 s"), step.end(), step.end("TPR-2013 no")]
    assert {number for message in told for number in fields(message)} <= {1, 3}
    vertexes = [vertex for message in told for vertex in inner(message, 1)]
    logs = [log for message in told for log in inner(message, 3)]
    assert (len(vertexes), len(logs)) == (3, 1)
    assert {number for each in vertexes for number in fields(each)} == {1, 3, 5, 6, 7}
    assert {number for each in logs for number in fields(each)} == {1, 2, 3, 4}


def test_the_versions_differ(inspected):
    newest = Recording.read(INSPECT)
    sizes = {version: len(answered(as_of(version, newest), LIST)) for version in VERSIONS}
    assert len(answered(newest, LIST)) > sizes["0.12"] > sizes["0.9"]
