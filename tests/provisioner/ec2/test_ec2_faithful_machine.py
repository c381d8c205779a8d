"""One machine's timeline, by a clock that the test moves."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torpor_provisioner.faithful_ec2.machine import Machine, Order, Phase
from torpor_provisioner.faithful_ec2.timing import Timing

TIMING = Timing()


def _launched(memory_gib: float = 8.0, timing: Timing = TIMING) -> Machine:
    machine = Machine(
        instance="i-0123456789abcdef0",
        account="123456789012",
        region="eu-west-1",
        zone="eu-west-1a",
        size="m7i.large",
        address="127.0.0.9",
        memory_gib=memory_gib,
        configured=True,
        launched_at=0.0,
        appears_at=timing.appears,
    )
    machine.launch(timing)
    return machine


def _running(memory_gib: float = 8.0) -> Machine:
    machine = _launched(memory_gib)
    assert machine.advance(100.0) == [Order.BOOT]
    assert machine.phase is Phase.RUNNING
    return machine


def test_a_launch_is_pending_then_runs_then_boots() -> None:
    machine = _launched()
    assert machine.advance(TIMING.launch - 0.1) == []
    assert machine.phase is Phase.PENDING
    assert machine.advance(TIMING.launch) == []
    assert machine.phase is Phase.RUNNING
    assert not machine.booted
    assert machine.advance(TIMING.launch + TIMING.boot) == [Order.BOOT]
    assert machine.booted


def test_a_stop_ends_the_worker_and_the_next_start_boots_it() -> None:
    machine = _running()
    assert machine.stop(100.0, TIMING, hibernate=False) == [Order.END]
    assert machine.phase is Phase.STOPPING
    assert machine.advance(100.0 + TIMING.stop) == [Order.KILL]
    assert machine.phase is Phase.STOPPED
    assert machine.start(200.0, TIMING)
    assert machine.advance(200.0 + TIMING.start + TIMING.boot) == [Order.BOOT]


def test_a_hibernation_freezes_the_worker_and_the_next_start_thaws_it() -> None:
    machine = _running()
    assert machine.stop(100.0, TIMING, hibernate=True) == [Order.FREEZE]
    assert machine.advance(200.0) == []
    assert machine.phase is Phase.STOPPED
    assert machine.frozen
    assert machine.start(300.0, TIMING)
    assert machine.advance(400.0) == [Order.THAW]
    assert not machine.frozen


def test_what_never_booted_has_no_memory_to_keep() -> None:
    machine = _launched()
    machine.advance(TIMING.launch)
    assert machine.stop(7.0, TIMING, hibernate=True) == [Order.END]
    assert not machine.frozen


@pytest.mark.parametrize("hibernate", [True, False])
def test_only_what_runs_can_be_stopped_and_only_what_is_stopped_started(hibernate: bool) -> None:
    machine = _launched()
    assert machine.stop(1.0, TIMING, hibernate=hibernate) == []
    assert not machine.start(1.0, TIMING)
    machine.advance(100.0)
    assert not machine.start(100.0, TIMING)
    machine.stop(100.0, TIMING, hibernate=hibernate)
    assert not machine.start(100.1, TIMING)
    assert machine.stop(100.2, TIMING, hibernate=hibernate) == []
    assert machine.starts == 0


def test_termination_kills_whatever_was_under_way_and_is_final() -> None:
    machine = _launched()
    assert machine.terminate(1.0, TIMING) == [Order.KILL]
    assert machine.terminate(1.0, TIMING) == []
    assert machine.advance(1.0 + TIMING.terminate) == []
    assert machine.phase is Phase.TERMINATED
    assert machine.advance(1000.0) == [], "it never boots"
    assert not machine.start(1000.0, TIMING)


@given(
    less=st.floats(0.5, 140),
    more=st.floats(0.5, 140),
)
def test_more_memory_takes_longer_to_write_and_to_read(less: float, more: float) -> None:
    less, more = sorted((less, more))
    small, large = _running(less), _running(more)
    for machine in (small, large):
        machine.stop(100.0, TIMING, hibernate=True)
    assert small.due[-1][0] <= large.due[-1][0]
    for machine in (small, large):
        machine.advance(1000.0)
        machine.start(1000.0, TIMING)
    assert small.due[-1][0] <= large.due[-1][0]


EVENTS = st.lists(
    st.sampled_from(["start", "stop", "hibernate", "terminate", "wait", "wait long"]), max_size=30
)


@given(events=EVENTS)
def test_whatever_is_asked_the_worker_is_never_booted_twice_nor_thawed_unfrozen(
    events: list[str],
) -> None:
    timing = replace(TIMING, young=0.0)
    machine, now, alive, frozen = _launched(), 0.0, False, False
    for event in events:
        orders: list[Order] = []
        match event:
            case "start":
                machine.start(now, timing)
            case "stop" | "hibernate":
                orders = machine.stop(now, timing, hibernate=event == "hibernate")
            case "terminate":
                orders = machine.terminate(now, timing)
            case _:
                now += 3.0 if event == "wait" else 60.0
                orders = machine.advance(now)
        for order in orders:
            match order:
                case Order.BOOT:
                    assert not alive
                    alive, frozen = True, False
                case Order.THAW:
                    assert alive
                    assert frozen
                    frozen = False
                case Order.FREEZE:
                    assert alive
                    frozen = True
                case Order.KILL:
                    alive = frozen = False
        dues = [at for at, _ in machine.due]
        assert dues == sorted(dues), "soonest first"
