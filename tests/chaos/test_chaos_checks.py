"""The checks of a chaos run find what they are for, and excuse what docs/chaos.md excuses.

Each record here is the smallest in which something went wrong.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from chaoskit.checks import CHECKS, violations
from chaoskit.history import told
from chaoskit.records import (
    Answer,
    Attempt,
    Call,
    Index,
    Life,
    Look,
    Lost,
    LostRow,
    Name,
    Records,
    Request,
    Span,
)
from chaoskit.report import table
from chaoskit.run import _complaints

REF = "m-0000"
A, B = 101, 102  # pids of nodes 0 and 1
AT = 1_000.0  # when a run has lasted for a while


def call(at: float, name: Name, pid: int = A, **values: Any) -> Call:
    made = Call(at, REF, pid, name, Answer.OK, effect=True, made=at - 0.01, arrived=at)
    return replace(made, **values)


def request(
    began: float, ended: float, node: int = 0, status: str = "OK", **values: Any
) -> Request:
    attempt = Attempt("r0.0", node, began, ended, status, **values)
    return Request("r0", REF, "unary", 60.0, began, ended, status == "OK", [attempt])


@pytest.fixture
def records() -> Records:
    """A wake and a sleep by node A, for one request, as they should be."""
    return Records(
        calls=[call(AT, Name.WAKE), call(AT + 10, Name.SLEEP)],
        looks=[Look(AT + 0.1, REF, A, "running"), Look(AT + 11, REF, A, "asleep")],
        requests=[request(AT - 0.1, AT + 1)],
        lives=[Life(0, A, 0.0, served=1.0), Life(1, B, 0.0, served=1.0)],
        history={REF: ["wake", "woke", "sleep", "slept"]},
    )


def found(records: Records) -> set[str]:
    return {name for name, sentences in violations(Index(records)).items() if sentences}


def test_a_run_in_which_all_went_well(records: Records) -> None:
    assert found(records) == set()
    told = table(Index(records), violations(Index(records)))
    assert "| machines started | 1 |" in told
    for name in CHECKS:
        assert f"| **{name}** | **0** |" in told


def test_a_call_that_another_machine_served(records: Records) -> None:
    records.served.append((REF, "r0.0"))
    records.served.append((REF, "a harness's own"))
    assert found(records) == set()
    records.served.append(("m-0001", "r0.0"))
    assert found(records) == {"calls served by another satellite's machine"}


def test_a_call_that_the_cloud_never_carried_out_excuses_the_next(records: Records) -> None:
    given_up = call(AT - 0.5, Name.WAKE, B, answer=Answer.GIVEN_UP, effect=False)
    records.calls.insert(0, given_up)
    assert found(records) == set()
    records.calls[0] = replace(given_up, answer=Answer.OK)
    assert "calls repeated without need" in found(records)


# --- Streams cut by sleep


@pytest.fixture
def cut(records: Records) -> Records:
    records.requests = [request(AT - 0.1, AT + 12)]
    records.calls[1] = call(AT + 10, Name.SLEEP, cut=("r0.0",))
    return records


def test_a_stream_that_was_cut(cut: Records) -> None:
    assert found(cut) == {"streams cut by sleep"}


def test_a_stream_of_a_node_that_was_paused_for_less_than_a_lease(cut: Records) -> None:
    cut.lives[0].pauses = [Span(AT + 1, AT + 21)]
    assert found(cut) == {"streams cut by sleep"}


def test_a_stream_whose_node_had_been_killed(cut: Records) -> None:
    cut.lives[0].ended, cut.lives[0].killed = AT + 9, True
    assert found(cut) == set()


def test_a_stream_whose_node_was_paused_for_longer_than_a_lease(cut: Records) -> None:
    cut.lives[0].pauses = [Span(AT + 1, AT + 70)]
    assert found(cut) == set()


def test_a_stream_that_its_client_had_given_up(cut: Records) -> None:
    cut.requests[0].attempts[0].ended = AT + 9.9
    assert found(cut) == set()


def test_a_call_that_a_paused_node_sent_late(cut: Records) -> None:
    cut.calls[1] = replace(cut.calls[1], made=AT + 2)
    assert found(cut) == set()


# --- Calls


def test_a_start_that_nobody_asked_for(records: Records) -> None:
    records.calls += [call(AT + 20, Name.WAKE)]
    records.history[REF] += ["wake", "woke"]
    assert found(records) == {"starts that nobody had asked for"}


def test_a_start_for_a_request_that_a_paused_node_did_not_see_end(records: Records) -> None:
    records.calls += [call(AT + 20, Name.WAKE)]
    records.history[REF] += ["wake", "woke"]
    records.requests += [request(AT + 3, AT + 5, node=1)]
    assert found(records) == {"starts that nobody had asked for"}
    records.lives[1].pauses = [Span(AT + 4, AT + 19)]
    assert found(records) == set()


def test_a_start_for_a_request_that_came_while_it_fell_asleep(records: Records) -> None:
    records.calls += [call(AT + 20, Name.WAKE)]
    records.history[REF] += ["wake", "woke"]
    records.requests += [request(AT + 9, AT + 21)]
    assert found(records) == set()


@pytest.mark.parametrize("name", list(Name))
def test_a_call_made_again_without_a_look(records: Records, name: Name) -> None:
    again = call(AT + 0.5 if name is Name.WAKE else AT + 11.5, name, effect=False)
    records.calls = sorted([*records.calls, again], key=lambda made: made.at)
    assert found(records) == {"calls repeated without need"}


@pytest.mark.parametrize(
    ("seen", "what"), [("asleep", set()), ("pending", {"calls repeated without need"})]
)
def test_a_call_that_the_cloud_was_long_about_was_overtaken(
    records: Records, seen: str, what: set[str]
) -> None:
    """It was the first; it is the one that overtook it which needs a reason."""
    first = call(AT + 1.0, Name.WAKE, effect=False, made=AT - 0.5, arrived=AT - 0.5)
    records.calls = sorted([*records.calls, first], key=lambda made: made.at)
    records.looks = [Look(AT - 0.2, REF, A, seen), *records.looks]
    assert found(records) == what


def test_a_call_made_again_after_a_look_that_showed_no_effect(records: Records) -> None:
    records.calls.insert(1, call(AT + 0.5, Name.WAKE, effect=False))
    records.looks.insert(1, Look(AT + 0.4, REF, A, "asleep"))
    assert found(records) == set()


def test_a_call_that_the_cloud_had_refused(records: Records) -> None:
    records.calls.insert(0, call(AT - 0.05, Name.WAKE, effect=False, answer=Answer.REFUSED))
    assert found(records) == set()


@pytest.fixture
def contested(records: Records) -> Records:
    """Node B starts what node A has started."""
    records.calls.insert(1, call(AT + 8, Name.WAKE, pid=B, effect=False))
    records.looks.insert(0, Look(AT - 0.05, REF, B, "asleep"))
    return records


def test_two_nodes_that_start_one_machine(contested: Records) -> None:
    assert found(contested) == {"calls by two nodes that lived"}


def test_a_node_that_starts_what_a_dead_one_began(contested: Records) -> None:
    contested.lives[0].ended, contested.lives[0].killed = AT + 1, True
    assert found(contested) == set()


@pytest.mark.parametrize(("lasts", "excused"), [(2.0, False), (7.0, True)])
def test_a_node_that_starts_what_a_paused_one_began(
    contested: Records, lasts: float, excused: bool
) -> None:
    contested.lives[0].pauses = [Span(AT + 0.1, AT + 0.1 + lasts)]
    assert found(contested) == (set() if excused else {"calls by two nodes that lived"})


@pytest.mark.parametrize(("lasts", "excused"), [(0.5, False), (6.0, True)])
def test_a_node_that_starts_what_one_without_a_database_began(
    contested: Records, lasts: float, excused: bool
) -> None:
    contested.outages = [Span(AT + 0.1, AT + 0.1 + lasts)]
    assert found(contested) == (set() if excused else {"calls by two nodes that lived"})


def test_a_node_whose_link_was_cut(contested: Records) -> None:
    contested.lives[0].cuts = [Span(AT + 0.1, AT + 7)]
    assert found(contested) == set()
    contested.lives[0].cuts = [Span(AT + 0.1, AT + 2)]
    assert found(contested) == {"calls by two nodes that lived"}


def test_a_sleep_that_was_refused_may_be_another_node_s_the_next_time(records: Records) -> None:
    refused = call(AT + 9, Name.SLEEP, pid=B, answer=Answer.REFUSED, effect=False)
    records.calls.insert(1, refused)
    assert found(records) == set()
    records.calls[1] = replace(refused, answer=Answer.OK)
    records.looks.insert(1, Look(AT + 8.9, REF, B, "running"))
    assert found(records) == {"calls by two nodes that lived"}


# --- Failovers


def lost(at: float, *events: str) -> Lost:
    rows = [LostRow(10 + number, SATELLITE, event, REF) for number, event in enumerate(events)]
    return Lost(at, at + 2, after=2, until=9, rows=rows)


def test_a_stream_that_is_cut_after_a_failover_is_cut(cut: Records) -> None:
    """Whatever else was lost of it: its lease is to be taken again in time."""
    cut.lost = [lost(AT + 5, "slept", "wake", "woke")]
    cut.history[REF] = ["wake", "woke", "sleep", "slept"]
    assert found(cut) == {"streams cut by sleep"}


@pytest.mark.parametrize(("made", "excused"), [(AT + 6, True), (AT + 9.9, True), (AT + 11, False)])
def test_a_sleep_whose_claim_was_lost_a_moment_before(
    cut: Records, made: float, excused: bool
) -> None:
    cut.lost = [lost(AT + 5, "sleep")]
    cut.calls[1] = replace(cut.calls[1], made=made, arrived=made, at=made + 0.1)
    assert found(cut) == (set() if excused else {"streams cut by sleep"})
    told = table(Index(cut), violations(Index(cut)))
    assert f"| calls under a claim that a failover had just lost | {int(excused)} |" in told


@pytest.mark.parametrize(("at", "excused"), [(AT - 2.5, True), (AT - 60, False)])
def test_what_differs_after_a_failover_is_found_out_for_a_while(
    retried: Records, at: float, excused: bool
) -> None:
    retried.lost = [lost(at, "wake")]
    assert found(retried) == (set() if excused else {"attempts failed by a living node"})
    retried.lost[0].rows.clear()  # of another satellite
    retried.calls.clear()
    retried.history[REF] = []
    assert found(retried) == {"attempts failed by a living node"}


SATELLITE = UUID(int=1)


@pytest.mark.parametrize(
    ("events", "lost_then", "tells"),
    [
        # lost, and put back where they belong
        (["wake", "woke"], ["sleep", "slept", "wake", "woke", "sleep", "slept"], "WSWS"),
        # a sleep was not told of any more, and found out
        (["wake", "woke", "found_asleep"], ["sleep"], "WS"),
        # a wake had its effect, its node had no time to tell, and the standby has it awake still
        (["wake", "woke", "sleep", "slept"], ["sleep", "slept", "wake"], "WSWS"),
        # it had none
        (["wake", "woke"], ["sleep", "slept", "wake"], "WS"),
        # a wake was told twice
        (["wake", "woke", "sleep", "slept"], ["woke"], "WS"),
        # a sleep of long ago was taken over, and the machine runs
        (["woke", "sleep", "sleep_abandoned"], ["slept", "wake"], "WSW"),
    ],
)
def test_what_a_failover_has_lost_of_the_log(
    records: Records, events: list[str], lost_then: list[str], tells: str
) -> None:
    kept = [
        {"id": number, "satellite_id": SATELLITE, "event": event}
        for number, event in enumerate(events, 1)
    ]
    records.lost = [
        Lost(AT, AT + 2, 2, 9, [LostRow(2 + n, SATELLITE, e) for n, e in enumerate(lost_then)])
    ]
    records.history = told(kept, records.lost, {SATELLITE: REF})
    records.calls = [
        call(AT + number, Name.WAKE if move == "W" else Name.SLEEP)
        for number, move in enumerate(tells)
    ]
    differs = "satellites whose log differs from the cloud's"
    assert differs not in found(records)
    records.lost[0].until = 2
    records.history = told(kept, records.lost, {SATELLITE: REF})
    assert (differs in found(records)) == ("found_asleep" in events)


# --- Requests


def test_a_request_that_failed(records: Records) -> None:
    records.requests[0] = request(AT - 0.1, AT + 1, status="INTERNAL")
    assert found(records) == {
        "requests failed within their budget",
        "attempts failed by a living node",
    }


def test_a_request_that_took_too_long(records: Records) -> None:
    records.requests[0] = request(AT - 0.1, AT + 61)
    assert found(records) == {"requests failed within their budget"}


def test_a_request_that_never_ended(records: Records) -> None:
    records.requests[0].ended, records.requests[0].done = None, False
    assert found(records) == {"requests failed within their budget"}


@pytest.fixture
def retried(records: Records) -> Records:
    """Failed on node 0, and done on node 1."""
    first, second = request(AT - 0.1, AT + 1, status="UNAVAILABLE"), request(AT + 1, AT + 2, node=1)
    first.attempts += [replace(second.attempts[0], call="r0.1")]
    first.done, first.ended = True, AT + 2
    records.requests = [first]
    return records


def test_an_attempt_that_a_living_node_failed(retried: Records) -> None:
    assert found(retried) == {"attempts failed by a living node"}


def test_an_attempt_on_a_node_that_was_killed(retried: Records) -> None:
    retried.lives[0].ended, retried.lives[0].killed = AT + 1, True
    assert found(retried) == set()


def test_an_attempt_that_nobody_took_up(retried: Records) -> None:
    retried.requests[0].attempts[0].turned_away = True
    assert found(retried) == set()
    told = table(Index(retried), violations(Index(retried)))
    assert "| of which met a connection that was being closed in order | 1 |" in told


@pytest.mark.parametrize(("lasts", "excused"), [(5.0, False), (12.0, True)])
def test_a_client_that_gave_up_connecting(retried: Records, lasts: float, excused: bool) -> None:
    retried.requests[0].attempts[0].detail = "failed to connect to all addresses"
    retried.lives[0].pauses = [Span(AT - lasts, AT + 0.5)]
    assert found(retried) == (set() if excused else {"attempts failed by a living node"})


def test_an_attempt_that_had_no_answer(retried: Records) -> None:
    attempt = retried.requests[0].attempts[0]
    attempt.status, attempt.abandoned = "ABANDONED", True
    assert found(retried) == {"attempts left without an answer by a living node"}
    retried.lives[0].pauses = [Span(AT, AT + 0.5)]
    assert found(retried) == set()


# --- The rest


def test_a_node_that_ended_by_itself(records: Records) -> None:
    records.lives[1].ended = AT + 30
    assert found(records) == {"nodes that ended by themselves"}


def test_satellites_that_are_stuck(records: Records) -> None:
    records.unreached, records.claimed = [REF], [REF]
    sentences = violations(Index(records))["satellites stuck at the end"]
    assert len(sentences) == 2


@pytest.mark.parametrize(
    "events",
    [
        ["wake", "woke"],
        ["wake", "woke", "sleep", "slept", "wake", "woke"],
        ["wake", "woke", "sleep", "slept", "found_running"],
    ],
)
def test_a_log_that_differs_from_the_cloud_s(records: Records, events: list[str]) -> None:
    records.history[REF] = events
    assert found(records) == {"satellites whose log differs from the cloud's"}


def test_a_sleep_that_was_given_up_moves_nothing(records: Records) -> None:
    records.history[REF][2:2] = ["sleep", "sleep_abandoned", "took_over"]
    assert found(records) == set()


@pytest.mark.parametrize(
    ("believed", "true", "well"),
    [
        ("asleep", "asleep", True),
        ("asleep", "running", False),
        ("running", "pending", True),
        ("running", "gone", False),
        ("sleeping", "running", True),  # it was on its way when the nodes were ended
        ("failed", "running", False),
    ],
)
def test_how_machines_are_in_the_end(
    records: Records, believed: str, true: str, well: bool
) -> None:
    records.ends[REF] = (believed, true)
    name = "satellites that are not as they are believed to be"
    assert found(records) == (set() if well else {name})


@pytest.mark.parametrize("margin", ["", "  "])
def test_a_traceback_in_a_log_is_found_however_far_in(tmp_path: Path, margin: str) -> None:
    lines = ["Traceback (most recent call last):", '  File "x", line 1', "    y()", "z.Error: why"]
    for number, made_up in enumerate(("z.Error", "else")):
        log = tmp_path / str(number) / "node-0.log"
        log.parent.mkdir()
        log.write_text("".join(f"{margin}{line}\n" for line in ["it failed", *lines]))
        found = list(_complaints(log.parent, [made_up]))
        assert len(found) == number, found
        assert all(told.endswith("z.Error: why") for told in found)


def test_a_traceback(records: Records) -> None:
    records.complaints = ["node-0.log:7: ..."]
    assert found(records) == {"tracebacks in the nodes' logs"}


BROKEN = AT + 5


@pytest.fixture
def broken(records: Records) -> Records:
    """Its power failed before it was put to sleep, of which the nodes hear by and by."""
    records.calls = [call(AT, Name.WAKE)]
    records.broken = [(BROKEN, REF)]
    records.history = {REF: ["wake", "woke", "found_asleep"]}
    return records


def test_an_end_that_nobody_asked_for_may_be_in_the_log(broken: Records) -> None:
    assert not any(violations(Index(broken)).values())
    broken.broken = []
    assert violations(Index(broken))["satellites whose log differs from the cloud's"]


def test_a_broken_machine_excuses_what_meets_it_until_it_has_answered_again(
    broken: Records,
) -> None:
    failed = request(BROKEN - 1, BROKEN + 0.1, status="UNAVAILABLE")
    boots = request(BROKEN + 1, BROKEN + 90)
    late = request(BROKEN + 100, BROKEN + 101, status="UNAVAILABLE")
    broken.requests += [failed, boots]
    name = "attempts failed by a living node"
    assert not violations(Index(broken))[name]
    broken.requests.append(late)
    assert len(violations(Index(broken))[name]) == 1
    broken.requests.remove(boots)  # it is yet to answer
    assert not violations(Index(broken))[name]


def test_a_break_excuses_no_other_machine(broken: Records) -> None:
    broken.requests.append(request(BROKEN - 1, BROKEN + 0.1, status="UNAVAILABLE"))
    broken.broken = [(BROKEN, "m-0001")]
    assert violations(Index(broken))["attempts failed by a living node"]
