"""What a chaos run on EC2 reads from EC2's log and from the workers' logs."""

from __future__ import annotations

from typing import Any

import pytest
from chaoskit import witness
from chaoskit.records import Answer, Life, Look, Name, Span

ONE, REF = "i-00000000000000001", "m-0000"
NAMES = {ONE: REF}
LIVES = {"node-0.1": Life(0, 101, 0.0), "node-1.1": Life(1, 102, 0.0)}
NONE: dict[str, list[witness.Stream]] = {REF: []}


def entry(at: float, action: str = "StartInstances", **values: Any) -> dict[str, Any]:
    made = {
        "at": at,
        "action": action,
        "caller": "node-0.1",
        "instances": [ONE],
        "effective": [ONE],
    }
    return made | {"code": "", "lost": False, "shown": {}} | values


def test_calls_are_those_of_nodes_and_move_machines() -> None:
    log = [
        entry(1.0, caller=""),  # whoever made the machines
        entry(2.0),
        entry(3.0, "DescribeInstances"),
        entry(4.0, "StopInstances", caller="node-1.1", lost=True),
        entry(5.0, code="RequestLimitExceeded", effective=[]),
    ]
    told = list(witness.calls(log, NAMES, LIVES, NONE))
    assert [
        (call.at, call.ref, call.pid, call.name, call.answer, call.effect) for call in told
    ] == [
        (2.0, REF, 101, Name.WAKE, Answer.OK, True),
        (4.0, REF, 102, Name.SLEEP, Answer.LOST, True),
        (5.0, REF, 101, Name.WAKE, Answer.REFUSED, False),
    ]


def test_one_request_for_many_machines_is_a_call_for_each() -> None:
    other = "i-00000000000000002"
    log = [entry(1.0, instances=[ONE, other], effective=[other])]
    told = witness.calls(log, {ONE: REF, other: "m-0001"}, LIVES, NONE)
    assert [(call.ref, call.effect) for call in told] == [(REF, False), ("m-0001", True)]


def test_nodes_are_shown_what_describe_instances_answers() -> None:
    log = [
        entry(1.0, "DescribeInstances", shown={ONE: "stopped"}),
        entry(2.0, "DescribeInstances", shown={ONE: "pending"}, lost=True),
        entry(3.0, "DescribeInstances", shown={ONE: "running"}, caller=""),
    ]
    assert list(witness.looks(log, NAMES, LIVES)) == [Look(1.0, REF, 101, "asleep")]


def test_what_went_wrong_is_told_once_for_each_time() -> None:
    log = [entry(1.0, code="InternalError"), entry(2.0, lost=True), entry(3.0)]
    assert list(witness.troubles(log, LIVES)) == [
        "StartInstances: InternalError",
        "StartInstances: its answer was lost",
    ]


def test_streams_that_were_open_when_their_machine_was_stopped_are_cut() -> None:
    open_on = {
        REF: witness.streams("0.1 booted \n0.5 opened r0.0\n0.6 opened r1.0\n0.9 closed r1.0\n")
    }
    [slept] = witness.calls([entry(1.0, "StopInstances")], NAMES, LIVES, open_on)
    assert slept.cut == ("r0.0",)
    [again] = witness.calls([entry(1.0, "StopInstances", effective=[])], NAMES, LIVES, open_on)
    assert again.cut == ()


def test_a_boot_ends_what_the_process_before_it_left_open() -> None:
    [stream] = witness.streams("1.0 booted \n2.0 opened r0.0\n9.0 booted \n")
    assert stream.covers(3.0)
    assert not stream.covers(10.0)


def test_a_worker_that_writes_nonsense() -> None:
    with pytest.raises(ValueError, match="shut r0"):
        witness.streams("1.0 shut r0.0\n")


@pytest.mark.parametrize(
    ("pause", "at", "made"),
    [
        (Span(1.0, 9.0), 9.02, 1.0),  # it may have been sent before
        (Span(1.0, 9.0), 9.2, 9.2),
        (Span(1.0, 3.0), 3.02, 3.02),  # too short for anything to be lost
        (Span(1.0, 9.0), 1.1, 1.1),  # it was on its way
    ],
)
def test_a_call_right_after_a_pause_may_be_late(pause: Span, at: float, made: float) -> None:
    assert witness.made(Life(0, 101, 0.0, pauses=[pause]), at) == made
