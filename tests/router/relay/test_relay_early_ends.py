"""Answers that the door began, and that end otherwise than by their worker's trailers."""

from __future__ import annotations

import pytest
from doorkit.core import REQUEST, frames, to_worker
from doorkit.early import OK, STATUS, Build, fields, framed

from torpor_router.errors import Draining, WorkerLost, WorkerUnreachable
from torpor_router.h2 import wire
from torpor_router.h2.blocks import encode
from torpor_router.h2.wire import END_STREAM, ErrorCode, Kind
from torpor_router.relay.streams import EARLY

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


def test_a_stream_waits_while_the_worker_takes_no_more():
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
