"""The core without sockets: any cutting into reads gives the same result, and other exact cases."""

from __future__ import annotations

import random
from math import inf
from typing import Any

import hpack
import pytest
from doorkit.core import HELLO, REQUEST, frames, pair_up, to_worker
from hypothesis import given, settings
from hypothesis import strategies as st
from relayfuzz.bench import Bench
from relayfuzz.frames import client_frame, headers, worker_frame
from relayfuzz.session import Session

from torpor_router.errors import WorkerLost
from torpor_router.h2 import scanner, wire
from torpor_router.h2.blocks import HeaderLimits, encode, split
from torpor_router.h2.wire import Kind
from torpor_router.relay import deadline
from torpor_router.relay.pacing import Paced, together
from torpor_router.relay.request_cache import MOST, BoundedTable, CachedRequest, Decision
from torpor_router.routing import Ask

LIMITS = HeaderLimits(1 << 16, 200)


@pytest.fixture
def bench():
    """A pair whose satellite is awake and whose client has greeted."""
    made = Bench()
    made.from_client(HELLO + wire.SETTINGS_ACK)
    return made


def run(client, worker, cuts, until=inf):
    """Everything the client sends, then everything the worker does, in reads of these sizes.

    Each stops as soon as the clock says `until`, and goes on in the next turn.
    """
    bench = Bench(until=until)
    bench.from_client(HELLO)
    opening = wire.headers(1, encode(REQUEST), end_stream=False)
    bench.from_client(opening)
    pair_up(bench)
    cuts = iter(cuts)
    for octets, feed in ((client, bench.from_client), (worker, bench.from_worker)):
        at = 0
        while at < len(octets):
            size = next(cuts, len(octets))
            feed(octets[at : at + size])
            at += size
    left = dict(bench.pair.streams.states), bench.farewells, bench.leg is not None
    bench.pair.closed()
    return by_stream(bench.client.octets), by_stream(bench.worker.octets), left


def by_stream(octets):
    """Each stream's frames in their order. A read's credit is one WINDOW_UPDATE: they are added."""
    streams: dict[int, Any] = {}
    credit = 0
    for kind, flags, stream, payload in frames(bytes(octets).removeprefix(wire.PREFACE)):
        if kind == Kind.WINDOW_UPDATE and stream == 0:
            credit += wire.u32(payload, 0)
        else:
            streams.setdefault(stream, []).append((kind, flags, payload))
    return streams, credit


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 1 << 30), st.lists(st.integers(1, 400), max_size=200))
def test_any_cutting_gives_the_same_result(seed, cuts):
    rng = random.Random(seed)
    opened = [1]
    client = wire.SETTINGS_ACK * rng.randrange(3)
    client += b"".join(client_frame(rng, opened) for _ in range(rng.randrange(40)))
    worker = b"".join(worker_frame(rng, opened) for _ in range(rng.randrange(40)))
    whole = run(client, worker, ())
    cut = run(client, worker, cuts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scanner, "_LOOK", 0)
        halting = run(client, worker, cuts, until=0.0)
    _, farewells, worker_kept = whole[2]
    for other in (cut, halting):
        if worker_kept and "Fault" not in str(farewells):
            assert other == whole  # what a rule's breaker is owed from the same read is not sent
        assert bool(other[2][1]) == bool(farewells)


def test_octet_by_octet():
    rng = random.Random(7)
    opened = [1]
    client = wire.SETTINGS_ACK * 2 + headers(rng, 3, encode(REQUEST), end=False)
    client += wire.frame(Kind.DATA, 1, 3, b"abc") + wire.frame(Kind.DATA, 1, 1, b"")
    worker = b"".join(headers(rng, n, b"\x88", end=True) for n in (3, 1))
    assert run(client, worker, [1] * 10_000) == run(client, worker, ())
    assert opened == [1]


# what longer forms have found
SEEDS = [
    964_277_029_603,  # an answer that ended while it waited for a client that then left
    959_490_241_896,  # a window opened beyond its bound before another worker came
]


@pytest.mark.parametrize("seed", [*range(300), *SEEDS])
def test_a_short_form_of_the_fuzzing(seed):
    Session(seed).run()


def test_what_passes_untouched_is_not_copied_apart(bench):
    bench.from_client(wire.headers(1, encode(REQUEST), end_stream=False))
    pair_up(bench)
    bench.from_client(wire.SETTINGS_ACK)
    bench.worker.octets.clear()
    bulk = b"".join(wire.frame(Kind.DATA, 0, 1, bytes(16_384)) for _ in range(8))
    bench.from_client(bulk)
    assert bytes(bench.worker.octets) == bulk


def test_blocks_before_the_acknowledgement_may_use_a_table():
    bench = Bench()
    encoder = hpack.Encoder()
    bench.from_client(HELLO)
    for stream in (1, 3):
        bench.from_client(wire.headers(stream, encoder.encode(REQUEST), end_stream=True))
    pair_up(bench)
    bench.from_client(wire.headers(5, encoder.encode(REQUEST), end_stream=True))
    assert not bench.pair.client.cache.by_key  # nothing may be remembered yet
    encoder.header_table_size = 0
    bench.from_client(wire.SETTINGS_ACK)
    for stream in (7, 9):
        bench.from_client(wire.headers(stream, encoder.encode(REQUEST), end_stream=True))
    blocks = [payload for kind, _, _, payload in to_worker(bench) if kind == Kind.HEADERS]
    assert len(blocks) == 5
    kept = [pair for pair in REQUEST if pair[0] not in (b"satellite", b"authorization")]
    for each in blocks:
        assert [(field.name, field.value) for field in split(each, LIMITS, {})] == kept
    assert len(bench.pair.client.cache.by_key) >= 1


RAW = (b"x-trace-bin", b"\x00\xff\r\nsatellite: beta/one\r\nauthorization: Bearer t\r\n\r\n")


@pytest.mark.parametrize("held", [True, False])
def test_raw_binary_metadata_stay_one_field(bench, held):
    """C-core sends them raw; what a line of HTTP/1 would end at is an octet like any other."""
    requests = [wire.headers(1, encode((*REQUEST, RAW)), end_stream=True)]
    if not held:
        requests.insert(0, wire.headers(1, encode(REQUEST), end_stream=True))
        requests[1] = wire.headers(3, encode((*REQUEST, RAW)), end_stream=True)
    bench.from_client(requests[0])
    pair_up(bench)
    bench.from_client(b"".join(requests[1:]))
    *_, (_, _, stream, block) = to_worker(bench)
    kept = [pair for pair in REQUEST if pair[0] not in (b"satellite", b"authorization")]
    assert stream == (1 if held else 3)
    assert [(f.name, f.value) for f in split(block, LIMITS, {})] == [*kept, RAW]
    assert bench.pair.binding.route.org == "acme"


@pytest.mark.parametrize("name", [b"x-trace", b"x-bin-trace", b"x-trace-bin "])
def test_no_other_field_may_have_a_line_in_it(bench, name):
    bench.from_client(wire.headers(1, encode((*REQUEST, (name, RAW[1]))), end_stream=True))
    *_, (kind, _, stream, payload) = frames(bench.client.octets)
    assert (kind, stream) == (Kind.RST_STREAM, 1)
    assert payload == wire.ErrorCode.PROTOCOL_ERROR.to_bytes(4, "big")
    assert not bench.waiting


def test_a_worker_that_answers_before_it_acknowledges(bench):
    bench.from_client(wire.headers(1, encode(REQUEST), end_stream=True))
    bench.from_client(wire.headers(3, encode(REQUEST), end_stream=True))
    bench.connect()
    bench.from_worker(wire.settings(()))
    encoder, client = hpack.Encoder(), []
    answer = [(b":status", b"200"), (b"x-long-name", b"long value")]
    for stream in (1, 3):
        bench.from_worker(wire.headers(stream, encoder.encode(answer), end_stream=True))
    client = [p for kind, _, _, p in frames(bench.client.octets) if kind == Kind.HEADERS]
    assert [[(f.name, f.value) for f in split(each, LIMITS, {})] for each in client] == [answer] * 2


def test_requests_that_differ_by_their_timeout(bench):
    bench.from_client(wire.headers(1, encode(REQUEST), end_stream=True))
    pair_up(bench)
    for n, timeout in enumerate((b"5S", b"4999m", b"5S", b"5S", None), start=1):
        fields = (*REQUEST[:4], (b"grpc-timeout", timeout), *REQUEST[4:]) if timeout else REQUEST
        bench.from_client(wire.headers(2 * n + 1, encode(fields), end_stream=True))
        *_, (_, _, stream, block) = to_worker(bench)
        assert stream == 2 * n + 1
        seen = {field.name: field.value for field in split(block, LIMITS, {})}
        assert seen.pop(b"grpc-timeout", None) == timeout
        assert seen == dict(REQUEST[:6])
    assert len(bench.pair.client.cache.by_key) == 1
    flawed = (*REQUEST, (b"grpc-timeout", b"5S\n"))
    bench.from_client(wire.headers(101, encode(flawed), end_stream=True))
    assert frames(bench.client.octets)[-1] == (Kind.RST_STREAM, 0, 101, b"\0\0\0\x01")
    assert to_worker(bench)[-1][2] == stream  # type: ignore[possibly-undefined]


def test_no_acknowledgement_is_lost_or_made_up(bench):
    bench.from_client(wire.headers(1, encode(REQUEST), end_stream=True))
    pair_up(bench)
    acks = [kind for kind, flags, *_ in to_worker(bench) if kind == Kind.SETTINGS and flags]
    assert len(acks) == 1
    bench.from_client(wire.SETTINGS_ACK)  # of the worker's first, which we have answered
    bench.from_worker(wire.settings([(4, 9)]))
    bench.from_client(wire.SETTINGS_ACK)
    acks = [kind for kind, flags, *_ in to_worker(bench) if kind == Kind.SETTINGS and flags]
    assert len(acks) == 2
    bench.from_client(wire.settings([(4, 99)]))
    to_client = len(bench.client.octets)
    bench.from_worker(wire.SETTINGS_ACK)
    assert frames(bench.client.octets[to_client:]) == [(Kind.SETTINGS, 1, 0, b"")]


@pytest.mark.parametrize("window", [0, 1, 10_000, 65_534, 65_535])
def test_a_small_window_is_kept(bench, window):
    sent = bytes(range(256)) * 255
    bench.from_client(wire.headers(1, encode(REQUEST), end_stream=False))
    for at in range(0, len(sent), 16_000):
        last = at + 16_000 >= len(sent)
        bench.from_client(wire.frame(Kind.DATA, int(last), 1, sent[at : at + 16_000]))
    pair_up(bench, (4, window))
    seen = granted = 0
    while seen < len(sent):
        data = [each for each in to_worker(bench) if each[0] == Kind.DATA]
        seen = sum(len(payload) for *_, payload in data)
        assert seen <= window + granted
        granted += 7_000
        bench.from_worker(wire.window_update(1, 7_000))
    data = [each for each in to_worker(bench) if each[0] == Kind.DATA]
    assert b"".join(payload for *_, payload in data) == sent
    assert [flags for _, flags, *_ in data if flags] == [1]
    assert not len(bench.pair.uploads)


def test_a_worker_is_not_sent_more_streams_than_it_takes(bench):
    for stream in (1, 3, 5):
        bench.from_client(wire.headers(stream, encode(REQUEST), end_stream=True))
    pair_up(bench, (3, 2))
    assert [s for kind, _, s, _ in to_worker(bench) if kind == Kind.HEADERS] == [1, 3]
    bench.from_worker(wire.headers(3, b"\x88", end_stream=True))
    assert [s for kind, _, s, _ in to_worker(bench) if kind == Kind.HEADERS] == [1, 3, 5]


def test_a_workers_goaway_passes_and_ends_what_it_will_not_do(bench):
    for stream in (1, 3):
        bench.from_client(wire.headers(stream, encode(REQUEST), end_stream=True))
    pair_up(bench)
    bench.from_worker(wire.goaway(1, wire.ErrorCode.ENHANCE_YOUR_CALM, "too_many_pings"))
    *_, (kind, _, _, payload) = frames(bench.client.octets)
    assert kind == Kind.GOAWAY
    assert payload == b"\0\0\0\x01\0\0\0\x0btoo_many_pings"
    assert bench.fleet.inside.total() == 1
    before = len(bench.worker.octets)
    bench.from_client(wire.headers(5, encode(REQUEST), end_stream=False))
    bench.from_client(wire.frame(Kind.DATA, 1, 5, b"never processed"))
    assert len(bench.worker.octets) == before
    assert frames(bench.client.octets)[-1] == (Kind.WINDOW_UPDATE, 0, 0, b"\0\0\0\x0f")


def test_a_worker_that_shuts_down_in_two_steps(bench):
    """The first GOAWAY only asks the client to look elsewhere; what is under way is still done."""
    bench.from_client(wire.headers(1, encode(REQUEST), end_stream=True))
    pair_up(bench)
    bench.from_worker(wire.goaway((1 << 31) - 1, wire.ErrorCode.NO_ERROR))
    bench.from_worker(wire.headers(1, b"\x88", end_stream=True))
    assert not bench.farewells
    bench.from_client(wire.headers(3, encode(REQUEST), end_stream=True))
    assert [s for kind, _, s, _ in to_worker(bench) if kind == Kind.HEADERS] == [1, 3]
    bench.from_worker(wire.goaway(3, wire.ErrorCode.NO_ERROR))
    bench.from_worker(wire.headers(3, b"\x88", end_stream=True))
    bench.pair.worker_gone(WorkerLost())
    assert bench.farewells


def test_pings_go_end_to_end_once_paired(bench):
    bench.from_client(wire.headers(1, encode(REQUEST), end_stream=False))
    pair_up(bench)
    bench.from_client(wire.frame(Kind.PING, 0, 0, b"12345678"))
    assert to_worker(bench)[-1] == (Kind.PING, 0, 0, b"12345678")
    bench.from_worker(wire.ping_ack(b"12345678"))
    assert frames(bench.client.octets)[-1] == (Kind.PING, 1, 0, b"12345678")


def test_padding_that_the_worker_never_sees_is_given_back(bench):
    bench.from_client(wire.headers(1, encode(REQUEST), end_stream=False))
    bench.from_client(wire.frame(Kind.DATA, wire.PADDED, 1, b"\x09" + b"data" + bytes(9)))
    updates = [(s, p) for k, _, s, p in frames(bench.client.octets) if k == Kind.WINDOW_UPDATE]
    ten = (10).to_bytes(4, "big")
    assert sorted(updates) == [(0, ten), (1, ten)]


def test_a_paced_stream_that_ends_early(bench):
    bench.from_client(wire.headers(1, encode(REQUEST), end_stream=False))
    bench.from_client(wire.frame(Kind.DATA, 1, 1, bytes(1_000)))
    pair_up(bench, (4, 100))
    bench.from_worker(wire.headers(1, b"\x88", end_stream=True))
    assert (Kind.RST_STREAM, 0, 1, b"\0\0\0\x08") in to_worker(bench)
    assert (Kind.WINDOW_UPDATE, 0, 0, (900).to_bytes(4, "big")) in frames(bench.client.octets)
    assert not bench.fleet.inside.total()


def test_cutting_a_frame_to_a_window():
    paced = Paced([wire.frame(Kind.DATA, 1, 1, b"abcdef"), wire.frame(Kind.HEADERS, 5, 1)], 4)
    assert frames(b"".join(paced.release())) == [(0, 0, 1, b"abcd")]
    paced.window -= 3  # SETTINGS may take a window below zero
    assert paced.release() == []
    paced.window += 5
    assert [each[3] for each in frames(b"".join(paced.release()))] == [b"ef", b""]
    assert not paced.frames


@given(st.floats(0, 1e8))
def test_a_timeout_written_is_a_timeout_read(seconds):
    read = deadline.parse(deadline.encode(seconds))
    assert read <= seconds or read == pytest.approx(seconds)
    assert read == pytest.approx(seconds, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("bad", [b"", b"1", b"S", b"123456789S", b"-1S", b"1s", b" 1S", b"1.5S"])
def test_what_is_no_timeout(bad):
    assert deadline.parse(bad) is None


@given(
    st.lists(st.binary(max_size=40_000), min_size=1, max_size=20),
    st.sampled_from(["open", "ended", "trailers"]),
)
def test_frames_that_wait_are_put_together(payloads, how):
    sent = [wire.frame(Kind.DATA, 0, 7, each) for each in payloads]
    if how == "ended":
        sent[-1] = wire.frame(Kind.DATA, wire.END_STREAM, 7, payloads[-1])
    elif how == "trailers":
        sent.append(wire.headers(7, b"\x88", end_stream=True))
    kept = frames(b"".join(together(sent)))
    content = b"".join(payload for kind, _, _, payload in kept if kind == Kind.DATA)
    assert content == b"".join(payloads)
    assert len(kept) <= len(content) // wire.DEFAULT_MAX_FRAME + 2
    assert all(len(payload) <= wire.DEFAULT_MAX_FRAME for *_, payload in kept)
    assert all(stream == 7 for _, _, stream, _ in kept)
    ends = [flags & wire.END_STREAM for _, flags, _, _ in kept]
    assert not any(ends[:-1])
    assert bool(ends and ends[-1]) == (how != "open")


def test_single_octets_cost_little_while_they_wait(bench):
    bench.fleet.awake = False
    bench.from_client(wire.headers(1, encode(REQUEST), end_stream=False))
    for _ in range(10):
        bench.from_client(wire.frame(Kind.DATA, 0, 1, b"x") * 500)
    (held,) = bench.pair.streams.held.values()
    assert len(held.frames) < 64
    assert held.octets == 5_000


def test_ever_new_requests_are_forgotten():
    memory: BoundedTable[Any, Any] = BoundedTable()  # type: ignore[type-arg]
    decision = Decision(Ask("acme", "one"), frozenset(), 0)
    for number in range(5_000):
        block = b"%d" % number * 20
        memory.keep(block, CachedRequest(decision, block), len(block))
    assert sum(len(block) + len(known.block) for block, known in memory.items()) < MOST
    assert memory
    memory.keep(bytes(9_000), CachedRequest(decision, b""))
    assert bytes(9_000) not in memory
    memory.forget()
    assert not memory


def test_a_read_stops_between_frames_when_its_time_is_over(bench):
    """What it left is read later, and the client sees no difference."""
    bench.from_client(wire.headers(1, encode(REQUEST), end_stream=False))
    pair_up(bench)
    before = len(bench.client.octets)
    sent = b"".join(wire.frame(99, 0, 0, bytes([n]) * 700) for n in range(40))
    rest, reads = sent, 0
    while rest:
        less = bench.leg.feed(rest, 0.0)
        assert len(less) < len(rest), "a read that reads nothing would never end"
        rest, reads = less, reads + 1
    assert reads > 5
    assert bytes(bench.client.octets[before:]) == sent


def test_a_read_that_stops_has_counted_its_data(bench):
    """DATA on the fast path before and behind the frame at which it looked at the clock."""
    bench.from_client(wire.headers(1, encode(REQUEST), end_stream=False))
    pair_up(bench)
    data = wire.frame(Kind.DATA, 0, 1, bytes(3_000))
    sent = data + wire.frame(99, 0, 0, b"x") + data
    rest = bench.leg.feed(wire.headers(1, b"\x88", end_stream=False) + sent, 0.0)
    assert rest == data
    assert bench.leg.data_octets == 3_000
    assert not bench.leg.feed(rest, 0.0)
    assert bench.leg.data_octets == 6_000


def test_settings_for_a_worker_whose_socket_is_closed_already(bench):
    """A write to it failed before its first SETTINGS came; the pair has yet to be told."""
    bench.from_client(wire.headers(1, encode(REQUEST), end_stream=False))
    bench.connect()
    bench.worker.closing = True
    bench.from_client(wire.settings([(4, 1)]))
    assert not bench.farewells
    assert frames(bench.client.octets)[-1][:2] == (Kind.SETTINGS, wire.ACK)


def test_trailers_of_a_stream_that_a_goaway_cut_harm_nobody(bench):
    """They were under way while the worker's GOAWAY named a lower stream."""
    for stream in (1, 3):
        bench.from_client(wire.headers(stream, encode(REQUEST), end_stream=False))
    pair_up(bench)
    bench.from_worker(wire.goaway(1, wire.ErrorCode.NO_ERROR))
    sent = len(bench.worker.octets)
    trailers = wire.headers(3, encode(((b"checksum", b"1"),)), end_stream=True)
    bench.from_client(wire.frame(Kind.DATA, 0, 3, b"late") + trailers)
    # one that the client opened before it read of the GOAWAY
    bench.from_client(
        wire.headers(5, encode(REQUEST), end_stream=False) + wire.frame(0, 0, 5, b"x")
    )
    bench.from_client(wire.headers(5, encode(((b"checksum", b"1"),)), end_stream=True))
    assert not bench.farewells
    assert not any(stream in (3, 5) for _, _, stream, _ in frames(bench.worker.octets[sent:]))
    bench.from_client(wire.frame(Kind.DATA, wire.END_STREAM, 1, b"the rest"))
    assert frames(bench.worker.octets[sent:])[-1] == (Kind.DATA, wire.END_STREAM, 1, b"the rest")
    bench.from_worker(wire.headers(1, b"\x88" + encode(((b"grpc-status", b"0"),)), end_stream=True))
    assert not bench.pair.streams.states
