"""Sockets that are read in turns, on a loop and a transport that are played."""

from __future__ import annotations

from math import inf

import pytest

from torpor_router.relay.reading import FAIR_OCTETS, Reading, Reason


class Loop:
    def __init__(self):
        self.now = 0.0
        self.soon = []

    def time(self):
        return self.now

    def call_soon(self, call, *arguments):
        self.soon.append((call, arguments))

    def turn(self):
        self.now += 0.001
        due, self.soon = self.soon, []
        for call, arguments in due:
            call(*arguments)


class Transport:
    paused = False

    def pause_reading(self):
        self.paused = True

    def resume_reading(self):
        self.paused = False

    def is_closing(self):
        return False


@pytest.fixture
def loop():
    return Loop()


@pytest.fixture
def transport():
    return Transport()


@pytest.fixture
def reading(loop, transport):
    return Reading(transport, loop, lambda data, until: b"")


def test_no_more_than_a_mebibyte_in_one_turn(loop, transport, reading):
    for _ in range(5):
        octets = 0
        while not transport.paused:
            reading.came(bytes(256_000))
            octets += 256_000
        assert octets <= FAIR_OCTETS
        assert octets > FAIR_OCTETS // 2
        loop.turn()
        assert not transport.paused
    assert not loop.soon


def test_a_clock_that_goes_on_within_a_turn_changes_nothing(loop, transport, reading):
    octets = 0
    while not transport.paused:
        reading.came(bytes(256_000))
        octets += 256_000
        loop.now += 0.001
    assert octets <= FAIR_OCTETS


def test_small_reads_need_no_turn_of_their_own(loop, transport, reading):
    for _ in range(12):
        reading.came(bytes(5_000))
        assert not loop.soon
    for _ in range(1_000):
        reading.came(bytes(5_000))
        assert len(loop.soon) <= 1
        assert not transport.paused
        loop.turn()


def test_less_than_that_is_not_stopped(loop, transport, reading):
    for _ in range(100):
        reading.came(bytes(256_000))
        reading.came(b"small")
        assert not transport.paused
        loop.turn()


def test_what_has_no_time_is_read_in_the_next_turn(loop, transport):
    read = []

    def half(data, until):
        read.append(len(data))
        return data[len(data) // 2 :] if until < inf and len(data) > 4_096 else b""

    reading = Reading(transport, loop, half)
    reading.came(bytes(8_192))
    assert transport.paused
    reading.came(b"behind it")
    assert read == [8_192]
    loop.turn()
    assert read == [8_192, 4_096 + len(b"behind it")]
    loop.turn()
    assert read[-1] < 4_096
    assert not transport.paused


def test_other_reasons_stay(loop, transport, reading):
    while not transport.paused:
        reading.came(bytes(256_000))
    reading.pause(Reason.PEER_FULL)
    loop.turn()
    assert transport.paused
    reading.resume(Reason.PEER_FULL)
    assert not transport.paused
