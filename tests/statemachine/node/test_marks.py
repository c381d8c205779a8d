"""A node that was killed frees its leases as soon as its death is proved, and by nothing less."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from fleetkit.world import QUICK, World
from waiting import until

from torpor_statemachine.errors import RouterSilent, SatelliteBusy
from torpor_statemachine.lifecycle.states import State
from torpor_statemachine.node.marks import Marks

BUDGET = 60.0
PERMANENT_ERRORS = replace(QUICK, leases_live=600.0)  # no lease ends by itself in a test
LIVES = """
import sys, time, uuid
from pathlib import Path
from torpor_statemachine.node.marks import Marks

Marks(Path(sys.argv[1])).set(uuid.UUID(sys.argv[2]))
print("lives", flush=True)
time.sleep(600)
"""
Start = Callable[[UUID], Awaitable[Process]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Start a process that is a node of this machine, as far as its mark goes."""
    async with AsyncExitStack() as stack:

        async def started(node_id: UUID) -> Process:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", LIVES, str(tmp_path), str(node_id), stdout=PIPE
            )
            stack.push_async_callback(_killed, process)
            assert process.stdout is not None
            assert await process.stdout.readline() == b"lives\n"
            return process

        yield started


async def _killed(process: Process) -> None:
    if process.returncode is None:
        process.kill()
        await process.wait()


def _dead(folder: Path) -> list[UUID]:
    with Marks(folder).dead() as dead:
        return dead


async def test_only_the_end_of_its_process_proves_a_death(start: Start, tmp_path: Path) -> None:
    node_id = uuid4()
    process = await start(node_id)
    assert _dead(tmp_path) == []
    process.send_signal(signal.SIGSTOP)
    assert _dead(tmp_path) == []
    await _killed(process)
    assert _dead(tmp_path) == [node_id]
    assert _dead(tmp_path) == []  # it was told, and its mark is gone


async def test_what_could_not_be_freed_is_told_again(start: Start, tmp_path: Path) -> None:
    node_id = uuid4()
    await _killed(await start(node_id))
    with pytest.raises(OSError, match="away"), Marks(tmp_path).dead():
        raise OSError("away")
    assert _dead(tmp_path) == [node_id]


def test_a_mark_of_another_machine_proves_nothing(tmp_path: Path) -> None:
    """A network file system lets the locks of a machine go that is merely cut off."""
    (tmp_path / f"{uuid4()}.{uuid4()}").touch()
    (tmp_path / f"no node.{Marks(tmp_path)._boot}").touch()
    assert _dead(tmp_path) == []


def test_a_folder_that_cannot_be_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    marks = Marks(tmp_path / "file" / "nodes")
    marks.set(uuid4())
    assert "last for a minute" in caplog.text
    marks.end(left=True)


async def test_a_node_that_leaves_removes_its_mark(world: World, tmp_path: Path) -> None:
    fleet = await world.node(folder=tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    await fleet.aclose()
    assert list(tmp_path.iterdir()) == []


async def _with_a_lease(world: World, node_id: UUID, satellite_id: UUID) -> None:
    await world.database.execute(
        "insert into nodes (id, expires_at, leases_until)"
        " values ($1, now() + interval '1 minute', now() + interval '9 minutes')",
        node_id,
    )
    await world.database.execute(
        "insert into leases (satellite_id, node_id) values ($1, $2)", satellite_id, node_id
    )
    await world.database.execute("update satellites set idle_since = null, sleep_due = null")


async def test_a_node_that_was_killed_keeps_nobody_awake(
    world: World, start: Start, tmp_path: Path
) -> None:
    node_id = uuid4()
    process = await start(node_id)
    fleet = await world.node(PERMANENT_ERRORS, folder=tmp_path)
    satellite = await world.launched(fleet)
    await _with_a_lease(world, node_id, satellite.id)
    with pytest.raises(SatelliteBusy):
        await fleet.sleep(satellite.id, actor="x")
    await _killed(process)
    await until(lambda: _unleased(world))
    await fleet.sleep(satellite.id, actor="x")
    await world.reaches(fleet, satellite.id, State.ASLEEP)


async def test_silence_alone_frees_nothing_and_says_until_when(
    world: World, tmp_path: Path
) -> None:
    """It may be cut off from the database alone, and its builds run."""
    fleet = await world.node(PERMANENT_ERRORS, folder=tmp_path)
    satellite = await world.launched(fleet)
    node_id = uuid4()
    await _with_a_lease(world, node_id, satellite.id)
    assert (await world.now(fleet)).obstacle is None
    await world.database.execute("update nodes set expires_at = now() where id = $1", node_id)
    shown = (await world.now(fleet)).obstacle
    assert shown is not None
    assert re.match(r"TPR-2017 .*its leases end in 5", shown)  # 539 s or so
    with pytest.raises(RouterSilent, match=r"TPR-2017 .*its leases end in"):
        await fleet.sleep(satellite.id, actor="x")
    assert not await _unleased(world)


async def _unleased(world: World) -> bool:
    return await world.database.fetchval("select not exists (select from leases)")


async def test_a_claim_of_a_node_that_was_killed_lasts_as_long_as_its_belief(
    world: World, start: Start, tmp_path: Path
) -> None:
    """The cloud may yet carry out the call that it made with its last breath."""
    node_id = uuid4()
    process = await start(node_id)
    fleet = await world.node(PERMANENT_ERRORS, folder=tmp_path)
    one, two = await world.asleep(fleet), await world.launched(fleet, "two")
    await _with_a_lease(world, node_id, two.id)
    await world.database.execute(
        """update satellites set state = 'waking', epoch = epoch + 1, claimed_by = $2,
            claim_deadline = now() + interval '9 minutes' where id = $1""",
        one.id,
        node_id,
    )
    await _killed(process)
    await until(lambda: _unleased(world))
    await fleet._reconciler.take_over()
    assert await world.database.fetchval("select claimed_by from satellites where name = 'one'")
    assert world.cloud.count("wake") == 0
    await world.database.execute("update nodes set expires_at = now() where id = $1", node_id)
    await world.reaches(fleet, one.id, State.RUNNING)
