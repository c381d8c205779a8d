"""What an operator asks for from a shell is carried out by whatever node there is."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from torpor_statemachine.errors import (
    BackingOff,
    NoNodeLives,
    SatelliteBusy,
    UnknownSatellite,
    WrongState,
)
from torpor_statemachine.lifecycle.states import State
from torpor_statemachine.shell import Shell

BUDGET = 20.0


async def test_the_shells_claims_are_carried_out_by_the_nodes(world: Any) -> None:
    fleet, shell = await world.node(), Shell(world.database)
    satellite = await world.asleep(fleet)
    assert (await shell.wake(satellite.id, "shell:ann")).state is State.WAKING
    await world.reaches(fleet, satellite.id, State.RUNNING)
    assert (await shell.wake(satellite.id, "shell:ann")).state is State.RUNNING
    await shell.sleep(satellite.id, "shell:ann", force=False)
    assert (await shell.sleep(satellite.id, "shell:ann", force=False)).state is not State.RUNNING
    await world.reaches(fleet, satellite.id, State.ASLEEP)
    await shell.terminate(satellite.id, "shell:ann", force=False)
    await world.reaches(fleet, satellite.id, State.TERMINATED)
    steps = [(step.event, step.actor) for step in await fleet.history(satellite.id, 50)]
    for event in ("wake", "sleep", "terminate"):
        assert (event, "shell:ann") in steps
    assert [world.cloud.count(call) for call in ("wake", "terminate")] == [1, 1]
    with pytest.raises(WrongState):
        await shell.wake(satellite.id, "shell:ann")
    with pytest.raises(UnknownSatellite):
        await shell.sleep(uuid4(), "shell:ann", force=False)


async def test_streams_are_ended_by_force_alone(world: Any) -> None:
    fleet, shell = await world.node(), Shell(world.database)
    satellite = await world.launched(fleet)
    await fleet.admit(satellite.id, actor="x", budget=BUDGET)
    for ask in (shell.sleep, shell.terminate):
        with pytest.raises(SatelliteBusy, match=r"acme/one: .*stream"):  # and by whom it is kept
            await ask(satellite.id, "shell:ann", force=False)
    await shell.sleep(satellite.id, "shell:ann", force=True)
    await world.reaches(fleet, satellite.id, State.ASLEEP)
    assert fleet.enter(satellite.id) is None
    fleet.leave(satellite.id)


async def test_a_wake_that_is_not_due_is_refused(world: Any) -> None:
    fleet, shell = await world.node(), Shell(world.database)
    satellite = await world.asleep(fleet)
    await world.database.execute(
        "update satellites set retry_at = now() + interval '1 hour', failure = 'TPR-2202 none'"
    )
    with pytest.raises(BackingOff, match="TPR-2202"):
        await shell.wake(satellite.id, "shell:ann")


async def test_nothing_is_claimed_where_no_node_would_carry_it_out(world: Any) -> None:
    fleet, shell = await world.node(), Shell(world.database)
    satellite = await world.asleep(fleet)
    await world.database.execute("update nodes set provisioners = '{other}'")
    with pytest.raises(NoNodeLives):
        await shell.wake(satellite.id, "shell:ann")
    with pytest.raises(NoNodeLives):
        await shell.terminate(satellite.id, "shell:ann", force=True)
    assert (await shell.get(satellite.id)).state is State.ASLEEP
