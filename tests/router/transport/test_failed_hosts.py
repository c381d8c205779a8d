"""The table of hosts whose certificate was not believed: its times, its size, and who shares it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

import pytest

from torpor_router.transport import failed_hosts
from torpor_router.transport.failed_hosts import (
    REMEMBERED,
    SPENT,
    FailedHosts,
    open_shared,
    shared_table,
)

HERE, THERE = "192.0.2.7", "[2001:db8::7]"


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def hosts(clock):
    return FailedHosts(clock=clock)


def test_it_is_given_out_once(hosts):
    hosts.remember(HERE, "other CA")
    hosts.remember(THERE, "wrong use")
    assert hosts.take(HERE) == "other CA"
    assert hosts.take(HERE) is None
    assert hosts.take(THERE) == "wrong use"


def test_and_again_only_after_a_while(hosts, clock):
    for _ in range(3):
        hosts.remember(HERE, "other CA")
        assert hosts.take(HERE) == "other CA"
        hosts.remember(HERE, "other CA")
        clock.now += SPENT - 0.01
        assert hosts.take(HERE) is None
        clock.now += 0.02


def test_it_is_forgotten(hosts, clock):
    hosts.remember(HERE, "other")
    clock.now += REMEMBERED
    assert hosts.take(HERE) is None


def test_many_hosts_take_no_more_room(hosts, clock):
    size = len(hosts._table)
    for number in range(20_000):
        hosts.remember(f"10.0.{number >> 8}.{number & 255}", "other CA")
    assert len(hosts._table) == size == failed_hosts.SIZE
    given = [hosts.take(f"10.0.{number >> 8}.{number & 255}") for number in range(20_000)]
    assert 0 < len(given) - given.count(None) <= failed_hosts._RECORDS


def test_a_crowd_does_not_make_one_host_give_twice(hosts, clock, monkeypatch):
    """Who could push another's record out could have its neighbours sent round again and again."""
    monkeypatch.setattr(failed_hosts, "_RECORDS", 1)
    hosts.remember(HERE, "other CA")
    assert hosts.take(HERE) == "other CA"
    for number in range(10):
        hosts.remember(f"10.0.0.{number}", "other CA")
        assert hosts.take(f"10.0.0.{number}") is None
    hosts.remember(HERE, "other CA")
    assert hosts.take(HERE) is None
    clock.now += SPENT
    hosts.remember(THERE, "other CA")
    assert hosts.take(THERE) == "other CA"


def test_processes_share_it():
    """One remembers, another gives out, and then the first does so no more."""
    with tempfile.TemporaryFile() as file:
        shared_table(file)
        mine = open_shared(os.dup(file.fileno()))
        mine.remember(HERE, "wrong use")
        code = (
            "import sys; from torpor_router.transport.failed_hosts import open_shared;"
            f"print(open_shared(int(sys.argv[1])).take({HERE!r}))"
        )
        said = subprocess.run(
            [sys.executable, "-c", code, str(file.fileno())],
            pass_fds=(file.fileno(),),
            check=True,
            capture_output=True,
            text=True,
        )
        assert said.stdout == "wrong use\n"
        mine.remember(HERE, "wrong use")
        assert mine.take(HERE) is None
