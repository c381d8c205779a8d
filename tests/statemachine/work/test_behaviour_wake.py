"""A wake: one start call, whatever the cloud answers, and one ending for all who waited."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from fleetkit.databases import Forgetful
from fleetkit.world import QUICK, World
from waiting import until

from torpor_provisioner.contract import MachineState
from torpor_provisioner.errors import (
    Capacity,
    Denied,
    Gone,
    Invalid,
    NotReady,
    Quota,
    StartFailed,
    Throttled,
    TorporError,
    Unanswered,
)
from torpor_statemachine.errors import BackingOff, HoldExpired, SatelliteFailed, WorkerSilent
from torpor_statemachine.fleet import Fleet
from torpor_statemachine.lifecycle.satellite import Satellite
from torpor_statemachine.lifecycle.states import State, WakeKind

BUDGET = 60.0


async def _admitted(fleet: Fleet, satellite: Satellite) -> None:
    await fleet.admit(satellite.id, actor="x", budget=BUDGET)
    fleet.leave(satellite.id)


@pytest.mark.parametrize("obstacle", [Capacity, Throttled, NotReady, ConnectionResetError])
async def test_what_passes_is_tried_again(world: World, obstacle: type[Exception]) -> None:
    fleet = await world.node()
    satellite = await world.asleep(fleet)
    world.cloud.fail("wake", obstacle("once"), obstacle("twice"))
    await _admitted(fleet, satellite)
    assert world.cloud.entered["wake"] == 3
    assert world.cloud.count("wake") == 1
    assert (await world.events(fleet, satellite.id))[-2:] == ["wake", "woke"]


async def test_what_is_in_the_way_is_told_until_it_is_not(world: World) -> None:
    fleet = await world.node()
    satellite = await world.asleep(fleet)
    seen: list[str | None] = []

    async def follow() -> None:
        async for now in fleet.follow(satellite.id):
            seen.append(now.obstacle)  # noqa: PERF401 - read while it goes on

    following = asyncio.create_task(follow())
    world.cloud.fail("wake", *(Capacity("none in zone b") for _ in range(1000)))
    with pytest.raises(HoldExpired, match=r"it is waking \(TPR-2202 .+: none in zone b\) for"):
        await fleet.admit(satellite.id, actor="x", budget=3.0)
    assert (await world.now(fleet)).obstacle == "TPR-2202 none in zone b"
    world.cloud.silent.add(satellite.ref)
    world.cloud.faults.clear()
    await until(lambda: seen[-2:] == ["TPR-2202 none in zone b", None])
    assert (await world.now(fleet)).state is State.WAKING
    world.cloud.silent.clear()
    running = await world.reaches(fleet, satellite.id, State.RUNNING)
    assert running.obstacle is None
    following.cancel()


async def test_what_is_in_the_way_ends_with_the_transition(world: World) -> None:
    fleet = await world.node()
    satellite = await world.asleep(fleet)
    world.cloud.fail("wake", Denied("no"))
    with pytest.raises(Denied):
        await _admitted(fleet, satellite)
    refused = await world.now(fleet)
    assert (refused.obstacle, refused.failure) == (None, "TPR-2206 no")


async def test_what_shows_that_it_was_done_is_in_the_way_no_more(world: World) -> None:
    fleet = await world.node()
    satellite = await world.asleep(fleet)
    world.cloud.silent.add(satellite.ref)
    gate = world.cloud.hold("observe")
    world.cloud.lose("wake", Unanswered("no answer"))
    request = asyncio.create_task(_admitted(fleet, satellite))
    await until(lambda: _obstructed(world, fleet, "TPR-2209 no answer"))
    gate.set()
    await until(lambda: _obstructed(world, fleet, None))
    assert (await world.now(fleet)).state is State.WAKING
    world.cloud.silent.clear()
    await request
    assert world.cloud.entered["wake"] == 1


async def _obstructed(world: World, fleet: Fleet, by: str | None) -> bool:
    return (await world.now(fleet)).obstacle == by


async def test_words_that_postgres_does_not_keep(world: World) -> None:
    fleet = await world.node()
    satellite = await world.asleep(fleet)
    world.cloud.fail("wake", Denied("half a word: \0"))
    with pytest.raises(Denied, match="half a word: \N{REPLACEMENT CHARACTER}"):
        await _admitted(fleet, satellite)


async def test_a_node_that_lost_its_claim_writes_no_obstacle(world: World) -> None:
    nodes = [await world.node() for _ in range(2)]
    satellite = await world.asleep(nodes[0])
    await _admitted(nodes[1], satellite)
    assert not await nodes[0]._transitions.obstructed(satellite, Capacity("none in zone b"))
    assert (await world.now(nodes[0])).obstacle is None


async def test_a_database_that_is_away_hears_of_no_obstacle(world: World) -> None:
    fleet = await world.node(kind=Forgetful)
    satellite = await world.asleep(fleet)
    fleet._database.refuse("update satellites set obstacle")  # type: ignore[attr-defined]
    world.cloud.fail("wake", Capacity("none in zone b"))
    await _admitted(fleet, satellite)
    assert world.cloud.count("wake") == 1


@pytest.mark.parametrize("refusal", [Quota, Denied, Invalid])
async def test_what_lasts_fails_at_once(world: World, refusal: type[TorporError]) -> None:
    nodes = [await world.node() for _ in range(2)]
    satellite = await world.asleep(nodes[0])
    world.cloud.fail("wake", refusal("the cloud's words"))
    gate = world.cloud.hold("wake")
    waiting = [
        asyncio.create_task(nodes[number % 2].admit(satellite.id, actor="x", budget=BUDGET))
        for number in range(6)
    ]
    await world.entered("wake")
    gate.set()
    told = await asyncio.gather(*waiting, return_exceptions=True)
    assert [(type(one), one.detail) for one in told] == [(refusal, "the cloud's words")] * 6  # type: ignore[union-attr]
    assert len({id(one) for one in told}) == 6  # each with a traceback of its own
    refused = await world.now(nodes[0])
    assert refused.state is State.ASLEEP
    assert refused.failure == f"{refusal.code} the cloud's words"
    log = await world.log(nodes[0], satellite.id)
    assert log[-1].event == "wake_refused"
    assert refusal.code in log[-1].detail
    assert world.cloud.entered["wake"] == 1


async def test_the_next_request_tries_again_after_a_back_off(world: World) -> None:
    fleet = await world.node()
    satellite = await world.asleep(fleet)
    world.cloud.fail("wake", Denied("no"), Denied("not yet"))
    for words in ("no", "not yet"):
        with pytest.raises(Denied, match=words):
            await _admitted(fleet, satellite)
    await _admitted(fleet, satellite)
    running = await world.now(fleet)
    assert (running.failure, running.retry_in) == (None, 0.0)
    log = await world.log(fleet, satellite.id)
    at = {step.event: [one.at for one in log if one.event == step.event] for step in log}
    pauses = [
        (wake - refused).total_seconds()
        for refused, wake in zip(at["wake_refused"], at["wake"][1:], strict=True)
    ]
    assert [pause >= least for pause, least in zip(pauses, (0.2, 0.4), strict=True)] == [True, True]


async def test_a_short_budget_is_told_of_the_back_off(world: World) -> None:
    slow = replace(QUICK, first_back_off=60.0, longest_back_off=60.0)
    fleet = await world.node(slow)
    satellite = await world.asleep(fleet)
    world.cloud.fail("wake", Denied("no"))
    with pytest.raises(Denied):
        await _admitted(fleet, satellite)
    with pytest.raises(BackingOff, match="TPR-2206 no"):
        await fleet.admit(satellite.id, actor="x", budget=5.0)
    with pytest.raises(BackingOff):
        await fleet.wake(satellite.id, actor="x")
    assert world.cloud.entered["wake"] == 1


@pytest.mark.parametrize("answer", [Throttled("?"), TimeoutError("?"), RuntimeError("?")])
async def test_a_lost_answer_makes_no_second_call(world: World, answer: Exception) -> None:
    fleet = await world.node()
    satellite = await world.asleep(fleet)
    world.cloud.lose("wake", answer)
    await _admitted(fleet, satellite)
    assert world.cloud.entered["wake"] == 1


@pytest.mark.parametrize("answer", [OSError("no answer"), Unanswered("?"), Throttled("?")])
async def test_a_call_of_unknown_effect_is_looked_after_before_another(
    world: World, answer: Exception
) -> None:
    """The call took effect and nobody was told, then nothing could be seen: time is up."""
    brief = replace(QUICK, shortest_wake=1.0, longest_wake=1.0, safety=0.2)
    fleet = await world.node(brief)
    satellite = await world.asleep(fleet)
    world.cloud.silent.add(satellite.ref)
    world.cloud.hold("observe")
    world.cloud.lose("wake", answer)
    request = asyncio.create_task(_admitted(fleet, satellite))
    await until(lambda: _took_over(world, fleet, satellite))
    world.cloud.gates.clear()
    world.cloud.silent.clear()
    await request
    assert "wake_refused" not in await world.events(fleet, satellite.id)
    assert world.cloud.entered["wake"] == 1


async def _took_over(world: World, fleet: Fleet, satellite: Satellite) -> bool:
    return "took_over" in await world.events(fleet, satellite.id)


async def test_a_machine_that_lies_down_again_is_started_again(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    fleet = await world.node()
    satellite = await world.asleep(fleet)
    machine = world.cloud.machines[satellite.ref]
    world.cloud.silent.add(satellite.ref)
    request = asyncio.create_task(_admitted(fleet, satellite))
    await world.entered("wake")
    await asyncio.sleep(2 * QUICK.patience)  # it is not taken for news that the cloud is late with
    machine.detail = "the worker died: cannot allocate memory"
    machine.state = MachineState.ASLEEP
    await world.entered("wake", 2)
    assert "acme/one: it fell asleep again" in caplog.text
    assert machine.detail in caplog.text
    world.cloud.silent.clear()
    await request
    assert (await world.events(fleet, satellite.id)).count("wake") == 1


async def test_a_start_that_the_cloud_takes_back_is_a_failed_wake_with_its_words(
    world: World,
) -> None:
    fleet = await world.node()
    satellite = await world.asleep(fleet)
    machine = world.cloud.machines[satellite.ref]
    world.cloud.silent.add(satellite.ref)
    request = asyncio.create_task(_admitted(fleet, satellite))
    await world.entered("wake")
    machine.failure = StartFailed("Client.InvalidKMSKey.InvalidState: The key is disabled")
    machine.state = MachineState.ASLEEP
    with pytest.raises(StartFailed, match=r"TPR-2226 .* The key is disabled"):
        await request
    assert (await world.now(fleet)).state is State.ASLEEP
    refused = (await world.log(fleet, satellite.id))[-1]
    assert refused.event == "wake_refused"
    assert "The key is disabled" in refused.detail
    assert world.cloud.entered["wake"] == 1, "it would only be taken back again"


async def test_a_machine_that_is_gone_fails_the_satellite(world: World) -> None:
    fleet = await world.node()
    satellite = await world.asleep(fleet)
    old = satellite.ref
    world.cloud.machines[old].state = MachineState.GONE
    with pytest.raises(SatelliteFailed, match=Gone.remedy):
        await _admitted(fleet, satellite)
    assert (await world.events(fleet, satellite.id))[-1] == "lost"
    repaired = await fleet.repair(satellite.id, actor="ann")
    assert (repaired.generation, repaired.name) == (2, "one")
    admitted = await fleet.admit(satellite.id, actor="x", budget=BUDGET)
    fleet.leave(satellite.id)
    assert admitted.wake_kind in (WakeKind.LAUNCHED, WakeKind.HOT)  # hot: it was done already
    assert (await world.now(fleet)).ref != old


async def test_a_silent_worker_fails_its_wake_and_is_stopped(world: World) -> None:
    brief = replace(QUICK, shortest_wake=1.0, longest_wake=1.0, safety=0.2)
    nodes = [await world.node(brief) for _ in range(2)]
    satellite = await world.asleep(nodes[0])
    world.cloud.silent.add(satellite.ref)
    told = await asyncio.gather(
        *(node.admit(satellite.id, actor="x", budget=BUDGET) for node in nodes),
        return_exceptions=True,
    )
    assert [type(one) for one in told] == [WorkerSilent, WorkerSilent]
    stopped = await world.reaches(nodes[0], satellite.id, State.ASLEEP)
    assert stopped.sleep_kind == "stopped"  # what its memory held is no good
    assert world.cloud.machines[satellite.ref].state is MachineState.ASLEEP
    assert (await world.events(nodes[0], satellite.id))[-3:] == ["wake", "wake_failed", "slept"]
    world.cloud.silent.clear()
    await _admitted(nodes[1], satellite)
    assert world.cloud.count("wake") == 2


async def test_a_request_during_a_failed_wakes_stop_gets_the_next_wake(world: World) -> None:
    brief = replace(QUICK, shortest_wake=1.0, longest_wake=1.0, safety=0.2)
    fleet = await world.node(brief)
    satellite = await world.asleep(fleet)
    world.cloud.silent.add(satellite.ref)
    gate = world.cloud.hold("sleep")
    with pytest.raises(WorkerSilent):
        await _admitted(fleet, satellite)
    world.cloud.silent.clear()
    late = asyncio.create_task(_admitted(fleet, satellite))
    await world.reaches(fleet, satellite.id, State.SLEEPING)
    gate.set()
    await late


async def test_an_address_that_the_machine_gets_anew_is_believed(world: World) -> None:
    fleet = await world.node()
    satellite = await world.asleep(fleet)
    machine = world.cloud.machines[satellite.ref]
    machine.address = machine.address._replace(port=4242)
    admitted = await fleet.admit(satellite.id, actor="x", budget=BUDGET)
    fleet.leave(satellite.id)
    assert admitted.address.port == 4242


async def test_its_time_is_learned(world: World) -> None:
    """From the satellite's own past, between a floor and a ceiling."""
    learning = replace(QUICK, shortest_wake=1.0, longest_wake=100.0, wake_factor=3.0)
    fleet = await world.node(learning)
    satellite = await world.asleep(fleet)
    for usual, least, most in ((0.1, 0.5, 1.0), (10, 29, 30), (1000, 99, 100)):
        await world.database.execute(
            "update satellites set usual_wake = make_interval(secs => $1)", usual
        )
        gate = world.cloud.hold("wake")
        await fleet.wake(satellite.id, actor="x")
        claimed = await world.now(fleet)
        assert least <= claimed.claim_left <= most
        gate.set()
        await world.reaches(fleet, satellite.id, State.RUNNING)
        await fleet.sleep(satellite.id, actor="x")
        await world.reaches(fleet, satellite.id, State.ASLEEP)
