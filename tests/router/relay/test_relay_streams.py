"""The table of streams: who is counted in is counted out, and what goes out goes in order."""

from __future__ import annotations

import pytest
from doorkit.core import HELLO, REQUEST, frames, pair_up, to_worker
from relayfuzz.bench import Bench

from torpor_router.errors import BadSatelliteName, WorkerLost
from torpor_router.h2 import blocks, wire
from torpor_router.h2.blocks import encode
from torpor_router.h2.wire import ErrorCode, Kind, Setting
from torpor_router.limits import Limits
from torpor_router.relay.streams import LIFE, Phase, diagram
from torpor_statemachine.lifecycle.states import WakeKind


@pytest.fixture
def bench():
    """A pair whose satellite is awake and whose client has greeted."""
    return greeted()


def greeted(**limits):
    made = Bench(Limits(**limits))
    made.from_client(HELLO + wire.SETTINGS_ACK)
    return made


def request(stream, *more, end=True):
    return wire.headers(stream, encode((*REQUEST, *more)), end_stream=end)


def answers(bench, stream):
    """The header blocks that the client got on a stream, as one dictionary."""
    found = [each for each in frames(bench.client.octets) if each[0] == Kind.HEADERS]
    own = {}
    for *_, on, block in found:
        if on == stream:
            read = blocks.split(block, blocks.HeaderLimits(1 << 20, 200), {})
            own.update({field.name: field.value for field in read})
    return own


def test_a_flood_of_resets_leaks_no_stream_of_a_paired_connection():
    bench = greeted(resets=3)
    bench.from_client(request(1))
    pair_up(bench)
    for stream in range(3, 13, 2):
        bench.from_client(request(stream, end=False) + wire.rst_stream(stream, ErrorCode.CANCEL))
    assert bench.farewells
    assert not bench.fleet.inside.total()
    assert not bench.relay.counts.streams
    assert not bench.pair.streams.states


def test_hundreds_of_deadlines_that_pass_while_their_requests_wait():
    bench = greeted()
    bench.fleet.awake = False
    streams = range(1, 1_201, 2)
    for stream in streams:
        bench.from_client(request(stream, (b"grpc-timeout", b"5S")))
    bench.now = 6.0
    bench.admit()
    pair_up(bench)
    assert not to_worker(bench)[2:]  # beside SETTINGS and its acknowledgement
    assert {answers(bench, stream)[b"x-torpor-code"] for stream in (1, 601, 1_199)} == {b"TPR-3007"}
    bench.fleet.awake = True
    bench.from_client(request(1_201))
    assert to_worker(bench)[-1][2] == 1_201


@pytest.mark.parametrize(
    "ending",
    [
        wire.rst_stream(1, ErrorCode.CANCEL),
        wire.frame(Kind.DATA, wire.END_STREAM, 1, b"last"),
        wire.frame(Kind.DATA, wire.END_STREAM, 1, b""),
        wire.headers(1, encode(((b"x-checksum", b"1"),)), end_stream=True),
    ],
    ids=["reset", "data", "empty data", "trailers"],
)
def test_what_makes_room_at_the_worker_reaches_it_before_what_fills_it(bench, ending):
    bench.from_client(request(1, end=False))
    pair_up(bench, (Setting.MAX_CONCURRENT_STREAMS, 1))
    bench.from_worker(wire.headers(1, b"\x88", end_stream=True))
    bench.from_client(request(3))
    assert [stream for kind, _, stream, _ in to_worker(bench) if kind == Kind.HEADERS] == [1]
    bench.from_client(ending + wire.frame(Kind.PING, 0, 0, bytes(8)))
    *_, before, ping, after = to_worker(bench)
    assert before[2] == 1
    assert ping[0] == Kind.PING
    assert (after[0], after[2]) == (Kind.HEADERS, 3)
    assert not bench.view.excess


@pytest.mark.parametrize("end", [True, False], ids=["whole", "half"])
def test_an_answer_in_one_frame_after_a_wake_tells_of_it_too(bench, end):
    bench.fleet.awake = False
    bench.from_client(request(1, end=end))
    bench.admit()
    pair_up(bench)
    bench.from_worker(wire.headers(1, b"\x88", end_stream=True))
    told = answers(bench, 1)
    assert told[b"x-torpor-satellite"] == b"acme/one"
    assert told[b"x-torpor-wake"].startswith(b"kind=%s" % WakeKind.RESUMED.encode())
    assert not bench.pair.streams.tags


def test_a_held_request_that_lost_its_rights_is_refused_at_the_release(bench):
    """Asked for again once the decision is older than a tick; the worker never sees it."""
    bench.fleet.awake = False
    bench.from_client(request(1) + request(3))
    bench.admit()
    bench.relay.tick += 1
    bench.fleet.revoked = True
    pair_up(bench)
    (first,) = bench.waiting
    assert not [each for each in to_worker(bench) if each[0] == Kind.HEADERS]
    bench.pair.holding.refuse(first, BadSatelliteName("revoked"))
    bench.pair.run_due()
    bench.fleet.revoked = False
    bench.pair.run_due()
    assert answers(bench, 1)[b"x-torpor-code"] == b"TPR-1002"
    assert [each[2] for each in to_worker(bench) if each[0] == Kind.HEADERS] == [3]
    bench.pair.closed()
    assert not bench.fleet.inside.total()


def test_the_refusal_of_the_only_request_is_told_with_its_satellite(bench):
    """The connection belongs to nobody again by then; the log line still says for whom it was."""
    told = []
    bench.relay.observer.refused = lambda error, route, peer: told.append((error.code, route))
    bench.fleet.awake = False
    bench.from_client(request(1))
    bench.pair.holding.refuse(bench.waiting.pop(), WorkerLost())
    ((code, route),) = told
    assert (code, route.org, route.satellite) == ("TPR-4002", "acme", "one")
    assert bench.pair.binding.route is None


def test_a_request_whose_rights_are_confirmed_goes_on_in_its_order(bench):
    bench.fleet.awake = False
    bench.from_client(request(1) + request(3))
    bench.admit()
    bench.relay.tick += 1
    bench.fleet.revoked = True  # not known any more, for now
    pair_up(bench)
    bench.fleet.revoked = False
    bench.admit()  # it is
    assert [each[2] for each in to_worker(bench) if each[0] == Kind.HEADERS] == [1, 3]


def test_a_secret_is_in_no_table_that_connections_share(bench):
    secret = b"s3cret-that-nobody-keeps"
    fields = [(k, v) for k, v in REQUEST if k != b"authorization"]
    for n, field in enumerate(
        ((b"authorization", b"Bearer " + secret), (b"satellite_token", secret), (b"cookie", secret))
    ):
        bench.from_client(wire.headers(2 * n + 1, encode((*fields, field)), end_stream=True))
    never_indexed = b"\x10\x05x-key" + bytes((len(secret),)) + secret
    bench.from_client(wire.headers(9, encode(REQUEST) + never_indexed, end_stream=True))
    assert not any(secret in octets for octets in blocks._known)
    assert any(b"/a.B/C" in octets for octets in blocks._known)


def test_more_fields_than_anybody_needs_are_refused_before_they_are_read():
    bench = greeted(header_fields=50)
    many = encode((b"x-%d" % n, b"") for n in range(50))
    bench.from_client(wire.headers(1, encode(REQUEST) + many, end_stream=True))
    assert answers(bench, 1)[b"x-torpor-code"] == b"TPR-3005"
    assert not any(b"x-49" in octets for octets in blocks._known)


def test_few_fields_may_come_before_the_acknowledgement():
    """Each block has to be decoded, or the table would be out of step: so there is an end to it."""
    bench = Bench(Limits(header_fields=50))
    bench.from_client(HELLO)
    many = encode((b"x", b"") for _ in range(90))
    for stream in range(1, 400, 2):
        bench.from_client(wire.headers(stream, many, end_stream=True))
    *_, (kind, _, _, payload) = frames(bench.client.octets)
    assert kind == Kind.GOAWAY
    assert wire.u32(payload, 4) == ErrorCode.ENHANCE_YOUR_CALM
    assert bench.pair.streams.last < 200


def test_what_was_refused_is_given_back_to_the_window_once_a_read(bench):
    bench.from_client(wire.headers(1, encode(REQUEST[:5]), end_stream=False))  # no gRPC: refused
    before = len(bench.client.octets)
    bench.from_client(wire.frame(Kind.DATA, 0, 1, b"x") * 1_000)
    told = frames(bench.client.octets[before:])
    assert told == [(Kind.WINDOW_UPDATE, 0, 0, (1_000).to_bytes(4, "big"))]


@pytest.mark.parametrize(
    "flood",
    [
        wire.window_update(0, 1),
        wire.window_update(1, 1),
        wire.rst_stream(1, ErrorCode.CANCEL),
        wire.frame(Kind.DATA, 0, 1, b"x"),
        wire.frame(Kind.PING, 0, 0, bytes(8)),
        wire.frame(Kind.PRIORITY, 0, 1, bytes(5)),
        wire.frame(77, 0, 0, b""),
    ],
    ids=["connection window", "stream window", "reset", "data", "ping", "priority", "unknown"],
)
@pytest.mark.parametrize("state", ["refused", "paired"])
def test_frames_that_carry_nothing_are_counted(flood, state):
    bench = greeted(control_frames=100, resets=100, faults=100)
    if state == "paired":
        bench.from_client(request(1))
        pair_up(bench)
        bench.from_worker(wire.headers(1, b"\x88", end_stream=True))
    else:
        bench.from_client(wire.headers(1, encode(REQUEST[:5]), end_stream=False))
    bench.from_client(flood * 250)
    assert bench.farewells


@pytest.mark.parametrize(
    "flood",
    [
        wire.window_update(0, 1),
        wire.window_update(1, 1),
        wire.rst_stream(1, ErrorCode.CANCEL),
        wire.frame(Kind.DATA, 0, 1, b"x"),
        wire.headers(1, b"\x88", end_stream=False),
        wire.frame(Kind.PING, 0, 0, bytes(8)),
        wire.frame(Kind.PRIORITY, 0, 1, bytes(5)),
        wire.frame(77, 0, 0, b""),
    ],
    ids=["window", "stream window", "reset", "data", "headers", "ping", "priority", "unknown"],
)
def test_a_workers_frames_that_carry_nothing_are_counted(flood):
    bench = greeted(control_frames=100)
    bench.from_client(request(1))
    pair_up(bench)
    bench.from_client(wire.rst_stream(1, ErrorCode.CANCEL))
    bench.from_worker(flood * 250)
    assert bench.leg is None
    assert bench.farewells


def test_windows_opened_for_data_that_came_are_no_flood():
    """A library that opens both windows by each octet it got, and measures the bandwidth."""
    bench = greeted(control_frames=100)
    bench.from_client(request(1))
    pair_up(bench)
    bench.from_worker(wire.headers(1, b"\x88", end_stream=False))
    for _ in range(500):
        bench.from_worker(wire.frame(Kind.DATA, 0, 1, b"\0\0\0\0\0"))
        bench.from_client(
            wire.window_update(0, 5) + wire.window_update(1, 5) + wire.frame(6, 0, 0, bytes(8))
        )
    assert not bench.farewells


@pytest.mark.parametrize("how", ["retire", "worker gone", "cut"])
def test_answers_that_wait_for_the_clients_window_are_not_lost_at_the_end(how):
    """The node took of the window, so the end of the worker's answer waits; then all is over."""
    bench = greeted()
    node = [(k, b"/torpor.v1.S/L" if k == b":path" else v) for k, v in REQUEST]
    bench.from_client(wire.headers(1, encode(node), end_stream=True))
    bench.connect_node()
    bench.from_node(wire.settings(()) + wire.headers(1, b"\x88", end_stream=False))
    bench.from_node(wire.frame(Kind.DATA, 0, 1, bytes(16_000)))
    bench.from_client(request(3))
    pair_up(bench)
    answer = b"".join(wire.frame(Kind.DATA, 0, 3, bytes(16_000)) for _ in range(4))
    trailers = wire.headers(3, encode(((b"grpc-status", b"0"),)), end_stream=True)
    bench.from_worker(wire.headers(3, b"\x88", end_stream=False) + answer + trailers)
    bench.from_node(wire.headers(1, encode(((b"grpc-status", b"0"),)), end_stream=True))
    assert bench.pair.window.waiting
    assert not bench.pair.streams.states
    if how == "retire":
        bench.pair.retire("draining")
    elif how == "cut":
        bench.pair.cut(WorkerLost())
    else:
        bench.pair.worker_gone(WorkerLost())
    assert not bench.farewells
    bench.from_client(wire.window_update(0, 65_535))
    assert bench.farewells
    ended = [each[2] for each in frames(bench.client.octets) if each[0] == 1 and each[1] & 1]
    assert ended == [3, 1]
    data = [p for kind, _, on, p in frames(bench.client.octets) if (kind, on) == (0, 3)]
    assert b"".join(data) == bytes(64_000)


def test_every_phase_can_be_reached_and_left():
    reached, todo = set(), [Phase.IDLE]
    while todo:
        phase = todo.pop()
        if phase not in reached:
            reached.add(phase)
            todo += LIFE[phase]
    assert reached == set(Phase)
    assert all(
        Phase.CLOSED in LIFE[each] for each in Phase if each not in (Phase.IDLE, Phase.CLOSED)
    )
    assert all(each in diagram() for each in Phase if each is not Phase.IDLE)
