"""Streams that the door begins to answer while a satellite wakes, and its worker goes on with."""

from __future__ import annotations

import hpack
import pytest
from doorkit.core import REQUEST, frames, pair_up, to_worker
from relayfuzz.bench import Bench
from relayfuzz.checks import check_end, check_out

from torpor_provisioner.contract import SleepKind
from torpor_provisioner.errors import Capacity
from torpor_router.dialects.messages.buildkit_status_pb2 import BytesMessage, StatusResponse
from torpor_router.errors import Draining, WorkerLost, WorkerUnreachable
from torpor_router.h2 import wire
from torpor_router.h2.blocks import encode
from torpor_router.h2.wire import END_STREAM, ErrorCode, Kind
from torpor_router.limits import Limits
from torpor_router.relay.streams import EARLY
from torpor_statemachine.gate import Outlook
from torpor_statemachine.lifecycle.states import State

STATUS = tuple(
    (name, b"/moby.buildkit.v1.Control/Status" if name == b":path" else value)
    for name, value in REQUEST
)
OK = b"\x88" + encode(((b"content-type", b"application/grpc"),))
DONE = encode(((b"grpc-status", b"0"),))


def fields(block):
    return dict(hpack.Decoder().decode(block, raw=True))


def framed(octets):
    return b"\0" + len(octets).to_bytes(4, "big") + octets


class Build:
    """A client whose satellite sleeps, with a Status stream and what came on it."""

    def __init__(self, *, window=1 << 20, request=STATUS, stream=1, bench=None):
        self.bench = bench or Bench()
        self.bench.fleet.awake = False
        self.stream = stream
        if not self.bench.pair.client.greeted:
            self.bench.from_client(wire.settings([(4, window)]) + wire.SETTINGS_ACK)
        self.bench.from_client(wire.headers(stream, encode(request), end_stream=False))
        self.bench.from_client(wire.frame(Kind.DATA, END_STREAM, stream, framed(b"\n\x03ref")))

    def came(self):
        return [
            (kind, flags, payload)
            for kind, flags, stream, payload in frames(self.bench.client.octets)
            if stream == self.stream and kind != Kind.WINDOW_UPDATE
        ]

    @property
    def data(self):
        return b"".join(payload for kind, _, payload in self.came() if kind == Kind.DATA)

    @property
    def told(self):
        """The door's messages, which come first; each is whole."""
        found, rest = [], self.data
        while rest[:1] == b"\0" and rest[5:7] != b"w:":
            size = int.from_bytes(rest[1:5])
            assert len(rest) >= 5 + size, "a torn message"
            found.append(StatusResponse.FromString(rest[5 : 5 + size]))
            rest = rest[5 + size :]
        return found

    @property
    def from_worker(self):
        own = sum(5 + len(each.SerializeToString()) for each in self.told)
        return self.data[own:]

    @property
    def lines(self):
        return [log.msg.decode() for each in self.told for log in each.logs]

    @property
    def steps(self):
        return [vertex for each in self.told for vertex in each.vertexes]

    def heads(self):
        return [payload for kind, _, payload in self.came() if kind == Kind.HEADERS]

    @property
    def trailers(self):
        (kind, flags, payload) = next(each for each in self.came() if each[1] & END_STREAM)
        assert kind == Kind.HEADERS
        assert flags & END_STREAM
        return fields(payload)

    def wait(self, seconds):
        for _ in range(seconds):
            self.bench.pass_time(1.0)

    def wake(self, *settings):
        """The satellite wakes, and its worker gets the request."""
        self.bench.admit()
        pair_up(self.bench, *settings)

    def answer(self, octets=b"w:hello"):
        self.bench.from_worker(wire.headers(self.stream, OK, end_stream=False))
        self.say(octets)

    def say(self, octets=b"w:hello", flags=0):
        self.bench.from_worker(wire.frame(Kind.DATA, flags, self.stream, framed(octets)))

    def finish(self):
        self.bench.from_worker(wire.headers(self.stream, DONE, end_stream=True))

    def update(self, increment):
        self.bench.from_client(wire.window_update(self.stream, increment))

    def updates_at_worker(self):
        return sum(
            wire.u32(payload, 0)
            for kind, _, stream, payload in to_worker(self.bench)
            if (kind, stream) == (Kind.WINDOW_UPDATE, self.stream)
        )

    def resets_at_worker(self):
        told = to_worker(self.bench)
        return [wire.u32(p, 0) for kind, _, stream, p in told if kind == Kind.RST_STREAM]

    def over(self):
        check_out(self.bench)
        self.bench.pair.closed()
        check_end(self.bench)


@pytest.fixture
def build():
    made = Build()
    made.wait(3)
    return made


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


# --- windows


def test_what_the_door_said_is_taken_off_what_the_client_opened(build):
    build.update(5_000)
    build.wake()
    assert build.updates_at_worker() == 5_000 - len(build.data)
    build.answer()
    assert build.bench.pair.streams.states[1] & EARLY == 0, "a stream like any other"


def test_a_debt_is_repaid_before_the_worker_hears_of_more():
    build = Build(window=1_000)
    build.wait(3)
    build.wake()
    owed = len(build.data)
    assert build.updates_at_worker() == 0
    build.answer(b"w:" + bytes(993))
    assert len(build.data) == 1_000, "no octet over the client's window"
    build.update(owed - 1)
    assert build.updates_at_worker() == 0
    assert build.from_worker == framed(b"w:" + bytes(993))[: owed - 1 + 1_000 - owed]
    build.update(1)
    assert build.from_worker == framed(b"w:" + bytes(993))
    assert build.updates_at_worker() == 0
    assert not len(build.bench.pair.early), "its debt is paid"
    build.update(77)
    assert build.updates_at_worker() == 77
    build.say(b"x" * 72)
    assert len(build.data) == owed + 1_000 + 77
    build.over()


def test_an_end_waits_behind_the_messages_before_it():
    build = Build(window=1_000)
    build.wait(3)
    build.wake()
    owed = len(build.data)
    build.answer(b"w:" + bytes(993))
    build.finish()
    build.bench.from_worker(wire.rst_stream(1, ErrorCode.NO_ERROR))
    assert not build.bench.pair.streams.states, "the worker is done: nothing keeps it awake"
    assert len(build.heads()) == 1
    for _ in range(owed):
        assert len(build.heads()) == 1
        build.update(1)
    assert build.from_worker == framed(b"w:" + bytes(993))
    assert build.trailers[b"grpc-status"] == b"0"
    build.over()


def test_a_connection_that_is_to_end_waits_for_the_last_messages():
    build = Build(window=1_000)
    build.wait(3)
    build.wake()
    owed = len(build.data)
    build.answer(b"w:" + bytes(993))
    build.finish()
    build.bench.pair.retire("asleep")
    assert not build.bench.farewells
    build.update(owed)
    assert build.bench.farewells
    assert build.trailers[b"grpc-status"] == b"0"


def test_what_waits_is_dropped_with_the_client_and_given_back_to_the_worker():
    build = Build(window=1_000)
    build.wait(3)
    build.wake()
    owed = len(build.data)
    build.answer(b"w:" + bytes(993))
    build.finish()
    build.bench.from_client(wire.rst_stream(1, ErrorCode.CANCEL))
    told = [p for kind, _, stream, p in to_worker(build.bench) if (kind, stream) == (8, 0)]
    assert sum(wire.u32(payload, 0) for payload in told) == owed
    assert not len(build.bench.pair.early)
    build.over()


def test_a_worker_that_overruns_its_window_is_stopped():
    build = Build(window=1_000)
    build.wait(3)
    build.wake()
    build.answer(b"w:" + bytes(993))
    build.say()
    assert build.resets_at_worker()
    assert len(build.data) <= 1_000
    build.over()


def test_a_window_made_smaller_under_way_is_no_fault_of_the_workers():
    build = Build(window=2_000)
    build.wait(3)
    build.wake()
    build.bench.from_client(wire.settings([(4, 100)]))
    build.answer(b"w:" + bytes(1_993))
    assert not build.resets_at_worker()
    build.bench.from_client(wire.settings([(4, 65_535)]))
    assert build.from_worker == framed(b"w:" + bytes(1_993))
    build.over()


def test_a_workers_padding_is_given_back_to_it():
    build = Build(window=1_000)
    build.wait(3)
    build.wake()
    build.bench.from_worker(wire.headers(1, OK, end_stream=False))
    padded = bytes((9,)) + framed(b"w:hello") + bytes(9)
    build.bench.from_worker(wire.frame(Kind.DATA, wire.PADDED, 1, padded))
    assert build.from_worker == framed(b"w:hello")
    assert build.updates_at_worker() == 10


# --- cancelled at each point


def cancel(build):
    build.bench.from_client(wire.rst_stream(1, ErrorCode.CANCEL))


def test_cancelled_before_it_has_begun():
    build = Build()
    cancel(build)
    build.wait(3)
    assert not build.came()
    assert not len(build.bench.relay.teller)
    build.over()


def test_cancelled_while_the_satellite_wakes(build):
    said = len(build.came())
    cancel(build)
    build.wait(3)
    build.wake()
    assert len(build.came()) == said
    assert not [kind for kind, *_ in to_worker(build.bench) if kind == Kind.HEADERS]
    build.over()


@pytest.mark.parametrize("answered", [False, True])
def test_cancelled_at_the_worker(build, answered):
    build.wake()
    if answered:
        build.answer()
    cancel(build)
    assert build.resets_at_worker() == [ErrorCode.CANCEL]
    build.answer()
    build.over()


# --- a worker that answers otherwise


def test_an_error_in_the_workers_headers_comes_as_trailers(build):
    build.wake()
    error = (
        (b"content-type", b"application/grpc"),
        (b"grpc-status", b"5"),
        (b"grpc-message", b"no such build"),
        (b"mine-bin", b"AAA"),
    )
    build.bench.from_worker(wire.headers(1, b"\x88" + encode(error), end_stream=True))
    assert build.trailers[b"grpc-status"] == b"5"
    assert build.trailers[b"grpc-message"] == b"no such build"
    assert build.trailers[b"mine-bin"] == b"AAA"
    assert not {b":status", b"content-type"} & build.trailers.keys()
    build.over()


@pytest.mark.parametrize(
    ("head", "end", "code"),
    [
        (((b":status", b"503"), (b"content-type", b"text/html")), True, b"TPR-4004"),
        (((b":status", b"503"), (b"content-type", b"text/html")), False, b"TPR-4004"),
        (((b":status", b"200"), (b"content-type", b"text/html")), False, b"TPR-4004"),
        (
            (
                (b":status", b"200"),
                (b"content-type", b"application/grpc"),
                (b"grpc-encoding", b"gzip"),
            ),
            False,
            b"TPR-4005",
        ),
    ],
)
def test_what_the_client_could_not_read_becomes_a_code(build, head, end, code):
    build.wake()
    build.bench.from_worker(wire.headers(1, encode(head), end_stream=end))
    assert build.trailers[b"x-torpor-code"] == code
    assert build.resets_at_worker() == [ErrorCode.CANCEL]
    build.bench.from_worker(wire.frame(Kind.DATA, END_STREAM, 1, b"<html>"))
    assert not build.from_worker
    build.over()


def test_interim_headers_are_left_out_too(build):
    build.wake()
    build.bench.from_worker(wire.headers(1, encode(((b":status", b"103"),)), end_stream=False))
    build.answer()
    build.finish()
    assert build.from_worker == framed(b"w:hello")
    assert build.trailers[b"grpc-status"] == b"0"


@pytest.mark.parametrize("first", ["data", "two heads"])
def test_a_worker_that_breaks_the_rules_ends_that_stream_alone(build, first):
    other = Build(bench=build.bench, request=REQUEST, stream=3)
    build.wake()
    if first == "data":
        build.say()
    else:
        build.answer(b"")
        build.bench.pair.streams.states[1] |= EARLY  # as long as its debt is not paid
        build.bench.from_worker(wire.headers(1, OK, end_stream=False))
    assert build.trailers[b"x-torpor-code"] == b"TPR-4003"
    other.answer()
    other.finish()
    assert other.data == framed(b"w:hello")
    build.over()


def test_a_worker_may_not_compress_and_one_asked_to_is_left_to_begin():
    request = (*STATUS, (b"grpc-accept-encoding", b"identity,gzip"))
    build = Build(request=request)
    build.wait(2)
    build.wake()
    (block,) = [p for kind, _, _, p in to_worker(build.bench) if kind == Kind.HEADERS]
    assert b"grpc-accept-encoding" not in fields(block)
    build = Build(request=(*STATUS, (b"grpc-encoding", b"gzip")))
    build.wait(2)
    assert not build.came()


@pytest.mark.parametrize("answered", [False, True])
def test_a_worker_that_resets_it(build, answered):
    build.wake()
    if answered:
        build.answer()
    build.bench.from_worker(wire.rst_stream(1, ErrorCode.REFUSED_STREAM))
    assert build.came()[-1][0] == Kind.RST_STREAM
    build.over()


@pytest.mark.parametrize("answered", [False, True])
def test_a_worker_that_dies_under_it(build, answered):
    build.wake()
    if answered:
        build.answer()
    build.bench.hang_up()
    build.bench.pair.worker_gone(WorkerLost())
    assert build.trailers[b"x-torpor-code"] == b"TPR-4002"
    assert b":status" not in build.trailers
    build.over()


def test_a_worker_that_cannot_be_reached(build):
    build.bench.admit()
    build.bench.pair.dial_failed(WorkerUnreachable())
    assert build.trailers[b"x-torpor-code"] == b"TPR-4001"
    assert "TPR-4001" in build.steps[-1].error
    build.over()


def test_it_waits_while_the_worker_takes_no_more_streams():
    first = Build(request=REQUEST)
    build = Build(bench=first.bench, stream=3)
    build.wait(3)
    build.wake((3, 1))
    build.wait(2)
    assert build.lines == ["2 s\n", "3 s\n", "4 s\n", "5 s\n"]
    first.answer()
    first.finish()
    assert build.steps[-1].HasField("completed")
    build.answer()
    assert build.from_worker == framed(b"w:hello")
    build.over()


# --- the connection's end


def test_a_router_that_drains_serves_a_build_that_has_begun(build):
    """Its client would make the other calls anew elsewhere, but not this one."""
    solve = Build(bench=build.bench, request=REQUEST, stream=3)
    build.bench.pair.retire("draining")
    (said,) = [p for kind, _, _, p in frames(build.bench.client.octets) if kind == Kind.GOAWAY]
    assert wire.u32(said, 0) == 3
    build.wait(1)
    assert build.lines[-1] == "4 s\n"
    build.wake()
    for each in (build, solve):
        each.answer()
        each.finish()
    assert build.from_worker == solve.data == framed(b"w:hello")
    assert build.bench.farewells
    build.over()


def test_a_router_that_has_no_more_time_ends_it_with_a_code(build):
    build.bench.pair.cut(Draining())
    assert build.trailers[b"x-torpor-code"] == Draining.code.encode()
    assert build.steps[-1].error == str(Draining())
    build.over()


def test_a_satellite_that_slept_meanwhile_ends_it_with_a_code(build):
    Build(bench=build.bench, request=REQUEST, stream=3)
    status, other = build.bench.waiting
    fleet, holding = build.bench.fleet, build.bench.pair.holding
    holding.admitted(other, fleet.let_in(other.route.satellite_id))
    fleet.epoch += 1
    holding.admitted(status, fleet.let_in(status.route.satellite_id))
    assert build.trailers[b"x-torpor-code"] == b"TPR-5004"
    build.over()


def test_a_worker_that_leaves_before_it_came_to_the_stream(build):
    build.wake()
    build.bench.from_worker(wire.goaway(0, ErrorCode.NO_ERROR))
    assert build.trailers[b"x-torpor-code"] == b"TPR-5004"
    kinds = [kind for kind, *_ in frames(build.bench.client.octets)]
    assert kinds.index(Kind.GOAWAY) > kinds.index(Kind.DATA)
    build.over()


def test_a_connection_that_has_had_its_worker_begins_nothing():
    """It is given up when its satellite sleeps; its requests are then made anew on another."""
    first = Build(request=REQUEST)
    first.wake()
    build = Build(bench=first.bench, stream=3)
    build.wait(3)
    assert not build.came()


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


# --- a session, which the door begins in the worker's name

SESSION = tuple(
    (name, b"/moby.buildkit.v1.Control/Session" if name == b":path" else value)
    for name, value in REQUEST
)


def octets_message(data):
    return framed(BytesMessage(data=data).SerializeToString())


SETTINGS = wire.settings([(4, 70_000)])


@pytest.fixture
def session():
    made = Build(request=SESSION)
    made.wait(2)
    assert not made.came(), "a short wake needs nothing of it"
    made.wait(8)
    return made


def test_a_session_lives_over_a_long_wake(session):
    said = octets_message(wire.PREFACE + wire.settings(()))
    assert session.data == said
    session.wake()
    session.bench.from_worker(wire.headers(1, OK, end_stream=False))
    sent = octets_message(wire.PREFACE) + octets_message(SETTINGS)
    session.bench.from_worker(wire.frame(Kind.DATA, 0, 1, sent))
    assert session.data == said + octets_message(SETTINGS)
    assert session.updates_at_worker() == len(octets_message(wire.PREFACE))
    session.finish()
    assert session.trailers[b"grpc-status"] == b"0"
    session.over()


@pytest.mark.parametrize("piece", [1, 3, 20, 32])
def test_a_workers_first_message_may_come_in_pieces(session, piece):
    said = session.data
    session.wake()
    session.bench.from_worker(wire.headers(1, OK, end_stream=False))
    sent = octets_message(wire.PREFACE + SETTINGS) + octets_message(b"more")
    for at in range(0, len(sent), piece):
        session.bench.from_worker(wire.frame(Kind.DATA, 0, 1, sent[at : at + piece]))
    assert session.data == said + octets_message(SETTINGS) + octets_message(b"more")
    assert session.updates_at_worker() == len(wire.PREFACE)
    session.over()


@pytest.mark.parametrize(
    "first",
    [
        octets_message(b"no preface"),
        framed(b"\xff" * 9),
        b"\1" + octets_message(wire.PREFACE)[1:],
        b"\0" + (1 << 20).to_bytes(4, "big"),
    ],
)
def test_a_worker_that_goes_on_otherwise_ends_it_with_a_code(session, first):
    session.wake()
    session.bench.from_worker(wire.headers(1, OK, end_stream=False))
    session.bench.from_worker(wire.frame(Kind.DATA, 0, 1, first))
    assert session.trailers[b"x-torpor-code"] == b"TPR-4006"
    assert session.resets_at_worker() == [ErrorCode.CANCEL]
    session.over()


def test_a_short_wake_leaves_a_session_to_its_worker():
    session = Build(request=SESSION)
    session.wait(1)
    session.wake()
    sent = octets_message(wire.PREFACE)
    session.bench.from_worker(wire.headers(1, OK, end_stream=False))
    session.bench.from_worker(wire.frame(Kind.DATA, 0, 1, sent))
    assert session.data == sent
    session.over()


# --- a client that gives windows back as grpc-go does


class Go:
    """grpc-go: 65,535 octets on each window, given back by quarters as they are read."""

    def __init__(self, build):
        self.build = build
        self.read = 0
        self.unread = {0: 0, 1: 0}
        self.left = {0: 65_535, 1: 65_535}

    def take(self):
        """Read all that has come by now."""
        while octets := self.came():
            for number in (0, 1):
                self.left[number] -= octets
                assert self.left[number] >= 0, "more than the window"
                self.unread[number] += octets
                if self.unread[number] >= 65_535 // 4:
                    self.left[number] += self.unread[number]
                    back, self.unread[number] = self.unread[number], 0
                    self.build.bench.from_client(wire.window_update(number, back))

    def came(self):
        octets = self.build.bench.client.octets
        told, self.read = frames(bytes(octets[self.read :])), len(octets)
        return sum(len(payload) for kind, _, _, payload in told if kind == Kind.DATA)


@pytest.mark.parametrize("seconds", [2, 200, 400])
def test_windows_given_back_by_quarters(seconds):
    build = Build(window=65_535)
    client = Go(build)
    for _ in range(seconds):
        build.wait(1)
        client.take()
    assert len(build.lines) == seconds - 1, "each second has its line"
    build.wake()
    client.take()
    build.bench.from_worker(wire.headers(1, OK, end_stream=False))
    sent, whole = 0, b"w:" + bytes(300_000)
    room = 65_535
    while sent < len(whole):
        told = to_worker(build.bench)
        granted = [65_535 + opened(told, number) - sent for number in (0, 1)]
        room = min(*granted, 16_384, len(whole) - sent)
        assert room > 0, "the worker is never told that it may go on"
        build.bench.from_worker(wire.frame(Kind.DATA, 0, 1, whole[sent : sent + room]))
        sent += room
        client.take()
    build.finish()
    client.take()
    assert build.data.endswith(whole)
    assert build.trailers[b"grpc-status"] == b"0"
    build.over()


def opened(told, number):
    return sum(
        wire.u32(payload, 0)
        for kind, _, stream, payload in told
        if (kind, stream) == (Kind.WINDOW_UPDATE, number)
    )
