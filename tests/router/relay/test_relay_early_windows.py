"""The windows of an answer that the door began count for neither client nor worker."""

from __future__ import annotations

import pytest
from doorkit.core import frames, to_worker
from doorkit.early import OK, Build, framed

from torpor_router.h2 import wire
from torpor_router.h2.wire import ErrorCode, Kind
from torpor_router.relay.streams import EARLY


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
