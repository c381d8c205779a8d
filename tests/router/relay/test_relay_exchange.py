"""SETTINGS as the client and the worker hear of them, as values."""

from __future__ import annotations

import pytest
from doorkit.core import frames

from torpor_router.h2 import settings, wire
from torpor_router.h2.wire import Setting
from torpor_router.limits import Limits
from torpor_router.relay.exchange import MAX_FRAME_CAP, SettingsExchange


@pytest.fixture
def exchange():
    return SettingsExchange(Limits(streams_per_connection=5))


def values_of(octets):
    """The values of the one SETTINGS frame in `octets`, behind a preface or not."""
    [frame] = frames(octets.removeprefix(wire.PREFACE))
    assert frame[:3] == (wire.Kind.SETTINGS, 0, 0)
    return settings.parse(frame.payload)


def test_the_tables_stay_empty_and_nothing_is_pushed(exchange):
    mine = {Setting.HEADER_TABLE_SIZE: 4096, Setting.ENABLE_PUSH: 1}
    assert values_of(exchange.opening())[Setting.HEADER_TABLE_SIZE] == 0
    exchange.from_client(mine, connected=False, ready=False)
    none = {Setting.HEADER_TABLE_SIZE: 0, Setting.ENABLE_PUSH: 0}
    assert values_of(exchange.greeting()) == none
    assert values_of(exchange.from_client(mine, connected=True, ready=True).to_worker) == {}
    assert values_of(exchange.from_worker(mine, first=True).to_client) == {
        Setting.INITIAL_WINDOW_SIZE: 65_535
    }


def test_the_smaller_limit_holds(exchange):
    worker = {Setting.MAX_CONCURRENT_STREAMS: 10, Setting.MAX_FRAME_SIZE: (1 << 24) - 1}
    told = values_of(exchange.from_worker(worker, first=False).to_client)
    assert told[Setting.MAX_CONCURRENT_STREAMS] == exchange.most_streams == 5
    assert told[Setting.MAX_FRAME_SIZE] == exchange.worker_takes == MAX_FRAME_CAP
    exchange.from_worker({Setting.MAX_CONCURRENT_STREAMS: 3}, first=False)
    assert exchange.most_streams == 3


def test_every_settings_frame_is_acknowledged_once(exchange):
    held = exchange.from_client({}, connected=False, ready=False)
    assert (held.to_client, held.to_worker) == (wire.SETTINGS_ACK, b"")
    dialled = exchange.from_client({}, connected=True, ready=False)
    assert dialled.to_client == wire.SETTINGS_ACK
    assert values_of(dialled.to_worker) == {}
    paired = exchange.from_client({}, connected=True, ready=True)
    assert paired.to_client == b""
    assert exchange.from_worker({}, first=True).to_worker == wire.SETTINGS_ACK
    assert exchange.from_worker({}, first=False).to_worker == b""
    assert exchange.client_acks == 2  # of our opening, and of the worker's first
    assert exchange.worker_acks == 2  # of our greeting, and of what was answered while dialling


def test_a_window_leaves_room_for_streams_that_the_door_opens_wider(exchange):
    told = values_of(exchange.from_worker({4: (1 << 31) - 1}, first=True).to_client)
    assert told[Setting.INITIAL_WINDOW_SIZE] + 65_535 <= (1 << 31) - 1
