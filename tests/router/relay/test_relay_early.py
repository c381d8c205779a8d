"""Streams that the door begins to answer while a satellite wakes, and its worker goes on with."""

from __future__ import annotations

import pytest
from doorkit.early import STATUS, Build, fields, framed
from relayfuzz.bench import Bench

from torpor_provisioner.contract import SleepKind
from torpor_provisioner.errors import Capacity
from torpor_router.h2 import wire
from torpor_router.limits import Limits
from torpor_statemachine.gate import Outlook
from torpor_statemachine.lifecycle.states import State


def test_the_wake_is_a_step_of_the_build(build):
    (head,) = build.heads()
    assert fields(head) == {b":status": b"200", b"content-type": b"application/grpc"}
    (step,) = build.steps
    assert step.name == "[torpor] waking acme/one (hibernated), usually 20 s"
    assert step.digest.startswith("sha256:")
    assert step.started.seconds
    assert not step.HasField("completed")
    assert build.lines == ["2 s\n", "3 s\n"]


def test_the_worker_goes_on_where_the_door_stopped(build):
    build.wake()
    begun, done = build.steps
    assert done.digest == begun.digest
    assert done.HasField("completed")
    assert not done.error
    build.answer()
    build.finish()
    assert len(build.heads()) == 2, "the worker's HEADERS are not left out"
    assert build.from_worker == framed(b"w:hello")
    assert build.trailers[b"grpc-status"] == b"0"
    assert build.trailers[b"x-torpor-satellite"] == b"acme/one"
    assert not build.bench.pair.streams.states
    build.over()


def test_a_satellite_that_runs_is_not_told_of():
    build = Build()
    build.bench.fleet.seen = None
    build.wait(1)
    build.bench.fleet.seen = Outlook(State.RUNNING)
    build.wait(2)
    assert not build.came()
    build.wake()
    build.answer()
    assert build.data == framed(b"w:hello")
    build.over()


@pytest.mark.parametrize(
    ("outlook", "name"),
    [
        (Outlook(State.ASLEEP, SleepKind.STOPPED), "waking acme/one (stopped)"),
        (Outlook(State.WAKING, SleepKind.STOPPED, 61.4), "waking acme/one (stopped), usually 61 s"),
        (Outlook(State.WAKING, None, 0.2), "waking acme/one, usually 1 s"),
        (Outlook(State.SLEEPING), "waking acme/one (sleeping)"),
        (Outlook(State.LAUNCHING), "launching acme/one"),
    ],
)
def test_what_the_step_is_called(outlook, name):
    build = Build()
    build.bench.fleet.seen = outlook
    build.wait(1)
    (step,) = build.steps
    assert step.name == f"[torpor] {name}"


def test_what_is_in_the_way_is_told_once(build):
    build.bench.fleet.seen = Outlook(State.WAKING, obstacle="TPR-2203 The cloud has none")
    build.wait(2)
    assert build.lines[-2:] == ["4 s: TPR-2203 The cloud has none\n", "5 s\n"]


def test_a_wake_that_fails_is_told_in_the_step_and_in_the_trailers(build):
    (held,) = build.bench.pair.streams.held.values()
    error = Capacity("none left")
    build.bench.pair.holding.refuse(held, error)
    assert build.steps[-1].error == str(error)
    assert build.steps[-1].HasField("completed")
    assert build.trailers[b"grpc-status"] == b"%d" % error.status
    assert build.trailers[b"x-torpor-code"] == error.code.encode()
    assert b":status" not in build.trailers
    build.over()


def test_a_failure_too_long_for_the_window_is_told_by_its_code():
    build = Build(window=500)
    build.wait(2)
    (held,) = build.bench.pair.streams.held.values()
    build.bench.pair.holding.refuse(held, Capacity("x" * 800))
    assert build.steps[-1].error == Capacity.code
    assert b"xxx" in build.trailers[b"grpc-message"]
    assert len(build.data) <= 500


def test_the_callers_deadline_ends_it_with_its_code():
    build = Build(request=(*STATUS, (b"grpc-timeout", b"2S")))
    build.wait(4)
    build.wake()
    assert build.trailers[b"x-torpor-code"] == b"TPR-3007"
    assert "TPR-3007" in build.steps[-1].error
    build.over()


def test_the_switch_is_off():
    bench = Bench()
    bench.relay.wake_progress = False
    build = Build(bench=bench)
    build.wait(3)
    assert not build.came()
    assert not len(bench.relay.teller)


@pytest.mark.parametrize("window", range(0, 101, 20))
def test_a_window_too_small_for_a_message_gets_none(window):
    build = Build(window=window)
    build.wait(5)
    assert not build.came()
    build.wake()
    build.answer(b"")
    (head,) = build.heads()
    assert fields(head)[b"x-torpor-satellite"] == b"acme/one"
    assert build.updates_at_worker() == 0


def test_a_client_that_reads_nothing_gets_no_more_than_its_window():
    build = Build(window=1_000)
    build.wait(100)
    assert 500 < len(build.data) <= 1_000
    build.wake()
    assert build.steps[-1].HasField("completed"), "room for the end was kept"
    assert len(build.data) <= 1_000


def test_a_client_that_gives_nothing_back_is_told_no_more():
    build = Build(window=1 << 30)
    build.bench.from_client(wire.window_update(0, 1 << 30))
    build.wait(1_000)
    assert len(build.data) < 40_000
    said = len(build.lines)
    build.update(10_000)
    build.wait(1)
    assert len(build.lines) == said + 1


def test_nothing_is_said_while_the_connections_window_is_shut(build):
    bench, said = build.bench, len(build.data)
    bench.pair.window._granted = said  # others have used it up
    build.wait(20)
    build.wake()
    build.answer()
    assert len(build.data) == said
    bench.from_client(wire.window_update(0, 5_000))
    assert build.steps[-1].HasField("completed")
    assert build.from_worker == framed(b"w:hello")
    build.over()


# --- many


def test_a_connection_has_so_many_of_them():
    bench = Bench(Limits(streams_per_connection=200))
    builds = [Build(bench=bench, stream=stream) for stream in range(1, 201, 2)]
    builds[0].wait(2)
    assert sum(bool(build.came()) for build in builds) == 64
    builds[0].wake()
    for build in builds:
        build.answer()
        build.finish()
        assert build.from_worker == framed(b"w:hello")
    builds[0].over()


def test_a_process_tells_so_many_at_once():
    benches = [Bench() for _ in range(700)]
    relay = benches[0].relay
    for bench in benches:
        bench.relay.teller = relay.teller
        Build(bench=bench)
    relay.teller.look(0.0)
    assert sum(b"waking" in bench.client.octets for bench in benches) == 500
    relay.teller.look(0.1)
    assert all(b"waking" in bench.client.octets for bench in benches)
