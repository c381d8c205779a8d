"""The whole lifecycle on EC2: two nodes, one database, and the faithful EC2's log of calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest
from waiting import LONG, until

from torpor_provisioner.contract import Address, SleepKind
from torpor_provisioner.ec2.refs import Ref
from torpor_provisioner.errors import Invalid, StartFailed
from torpor_provisioner.faithful_ec2.script import Effect, Fault
from torpor_provisioner.faithful_ec2.server import FaithfulEc2
from torpor_provisioner.faithful_ec2.workers import NoWorkers, ProcessWorkers
from torpor_provisioner.sample.v1 import builder_pb2 as pb
from torpor_provisioner.sample.v1 import builder_pb2_grpc as rpc
from torpor_router.probe import answers
from torpor_statemachine.config import FleetConfig
from torpor_statemachine.fleet import Fleet
from torpor_statemachine.lifecycle.satellite import Satellite
from torpor_statemachine.lifecycle.specs import Changes, NewSatellite
from torpor_statemachine.lifecycle.states import SleepMode, State, WakeKind
from torpor_statemachine.postgres.pool import Database

LONGER = pytest.mark.timeout(600)
BUDGET = 60.0
CONFIG = FleetConfig(
    poll=0.2, probe=0.02, first_look=0.02, first_retry=0.05, linger=0.1, farewell=0.0
)


class Deployment:
    """Nodes of one deployment, and what EC2 was asked by them."""

    def __init__(self, faithful: FaithfulEc2, url: str, stack: AsyncExitStack) -> None:
        self.faithful = faithful
        self.org_id = uuid4()
        self._url = url
        self._stack = stack

    async def node(self, provisioner: Any, probe: Any = None) -> Fleet:
        database = await self._stack.enter_async_context(Database(self._url))
        probe = probe or self._runs
        fleet = Fleet(database, {"ec2": provisioner}, probe=probe, config=CONFIG)
        await fleet.start()
        self._stack.push_async_callback(fleet.aclose)
        return fleet

    async def launched(self, fleet: Fleet, name: str = "one", **more: Any) -> Satellite:
        new = NewSatellite(
            org_id=self.org_id, name=name, provisioner="ec2", size="m7i.large", **more
        )
        satellite = await fleet.launch(new, actor="test")
        return await self.reaches(fleet, satellite.id, State.RUNNING)

    async def asleep(self, fleet: Fleet, **more: Any) -> Satellite:
        satellite = await self.launched(fleet, **more)
        await fleet.sleep(satellite.id, actor="test")
        return await self.reaches(fleet, satellite.id, State.ASLEEP)

    async def reaches(self, fleet: Fleet, satellite_id: UUID, state: State) -> Satellite:
        async with asyncio.timeout(LONG):
            async for satellite in fleet.follow(satellite_id):
                if satellite.state is state:
                    return satellite
        raise AssertionError("it was terminated")

    def effective(self, action: str) -> list[tuple[str, ...]]:
        """The machines of each call of that action that had an effect."""
        return [call.effective for call in self.faithful.front.calls.of(action) if call.effective]

    async def called(self, action: str) -> None:
        """Returns once a call of that action has had an effect."""
        await until(lambda: self.effective(action))

    async def _runs(self, address: Address, timeout: float) -> bool:
        """For tests without workers: a machine answers while it runs."""
        machines = self.faithful.front.world.machines.values()
        return any(m.address == address.host and m.phase == "running" for m in machines)


@pytest.fixture
async def deployment(
    faithful: FaithfulEc2, database: Database, database_url: str
) -> AsyncIterator[Deployment]:
    async with AsyncExitStack() as stack:
        made = Deployment(faithful, database_url, stack)
        await database.execute("insert into orgs (id, name) values ($1, 'acme')", made.org_id)
        yield made


@pytest.fixture
def workers(faithful: FaithfulEc2, tmp_path: Path) -> Iterator[int]:
    """Real workers behind the machines, on this port."""
    real = ProcessWorkers(tmp_path / "machines", 8372)
    faithful.front.world._workers = real
    yield 8372
    faithful.front.world._workers = NoWorkers()
    real.close()


async def _info(address: Address) -> pb.InfoReply:
    async with grpc.aio.insecure_channel(f"{address.host}:{address.port}") as channel:
        return await rpc.BuilderStub(channel).Info(pb.InfoRequest(), timeout=LONG)


async def test_fifty_builds_at_a_hibernated_satellite_start_it_once(
    deployment: Deployment, ec2: Any, workers: int
) -> None:
    one = await deployment.node(ec2(), answers)
    other = await deployment.node(ec2(), answers)
    satellite = await deployment.launched(one)
    first = await one.admit(satellite.id, actor="first", budget=BUDGET)
    booted = (await _info(first.address)).booted_at
    one.leave(satellite.id)

    await one.sleep(satellite.id, actor="test")
    asleep = await deployment.reaches(other, satellite.id, State.ASLEEP)
    assert asleep.sleep_kind is SleepKind.HIBERNATED

    admitted = await asyncio.gather(
        *(
            (one, other)[number % 2].admit(satellite.id, actor=f"build {number}", budget=BUDGET)
            for number in range(50)
        )
    )
    assert {a.address for a in admitted} == {first.address}, "the private address is kept"
    assert {a.wake_kind for a in admitted} == {WakeKind.RESUMED}
    instance = Ref.parse(satellite.ref or asleep.ref).instance
    assert deployment.effective("StartInstances") == [(instance,)]
    assert deployment.effective("StopInstances") == [(instance,)]
    assert deployment.effective("RunInstances") == [(instance,)]
    assert (await _info(first.address)).booted_at == booted, "its memory was kept"
    for number in range(50):
        (one, other)[number % 2].leave(satellite.id)


async def test_a_hibernation_that_kept_nothing_is_known_by_the_boot_and_told_as_a_start(
    deployment: Deployment, ec2: Any, workers: int
) -> None:
    """AWS's StateReason says all the while that hibernation was initiated."""
    fleet = await deployment.node(ec2(), answers)
    deployment.faithful.front.script.faults.append(Fault("StopInstances", Effect.SHUT_DOWN))
    asleep = await deployment.asleep(fleet)
    assert asleep.sleep_kind is SleepKind.HIBERNATED
    admitted = await fleet.admit(asleep.id, actor="test", budget=BUDGET)
    assert admitted.wake_kind is WakeKind.STARTED
    woke = next(s for s in await fleet.history(asleep.id, 10) if s.event == "woke")
    assert "its memory was not kept" in woke.detail
    fleet.leave(asleep.id)


async def test_a_start_that_aws_takes_back_is_a_failed_wake_with_its_words(
    deployment: Deployment, ec2: Any
) -> None:
    fleet = await deployment.node(ec2())
    asleep = await deployment.asleep(fleet)
    code, words = "Client.InvalidKMSKey.InvalidState", "The KMS key is disabled."
    deployment.faithful.front.script.faults.append(
        Fault("StartInstances", Effect.STOP_AGAIN, code, words)
    )
    with pytest.raises(StartFailed, match=f"TPR-2226 .*{code}: {words}"):
        await fleet.admit(asleep.id, actor="test", budget=BUDGET)
    assert len(deployment.effective("StartInstances")) == 1
    await fleet.admit(asleep.id, actor="test", budget=BUDGET)
    fleet.leave(asleep.id)


@pytest.mark.parametrize("action", ["RunInstances", "StopInstances", "StartInstances"])
async def test_lost_answers_lead_to_no_second_call_with_an_effect(
    deployment: Deployment, ec2: Any, action: str
) -> None:
    deployment.faithful.front.script.faults.append(Fault(action, Effect.LOSE, times=2))
    fleet = await deployment.node(ec2())
    asleep = await deployment.asleep(fleet, sleep_mode=SleepMode.STOP)
    await fleet.admit(asleep.id, actor="test", budget=BUDGET)
    fleet.leave(asleep.id)
    assert len(deployment.effective(action)) == 1


async def test_a_build_that_comes_while_it_falls_asleep_is_served(
    deployment: Deployment, ec2: Any, drive: Any
) -> None:
    fleet = await deployment.node(ec2())
    satellite = await deployment.launched(fleet)
    with drive.timing(hibernate=0.5):
        await fleet.sleep(satellite.id, actor="test")
        await deployment.called("StopInstances")
        admitted = await fleet.admit(satellite.id, actor="test", budget=BUDGET)
    assert admitted.wake_kind is WakeKind.RESUMED
    fleet.leave(satellite.id)
    assert len(deployment.effective("StopInstances")) == 1
    assert len(deployment.effective("StartInstances")) == 1


async def test_no_capacity_for_a_while_is_waited_out_within_the_budget(
    deployment: Deployment, ec2: Any, stage: Any
) -> None:
    fleet = await deployment.node(ec2())
    asleep = await deployment.asleep(fleet)
    fault = Fault(
        "StartInstances", code="InsufficientInstanceCapacity", message="No.", status=500, times=2
    )
    deployment.faithful.front.script.faults.append(fault)
    await fleet.admit(asleep.id, actor="test", budget=BUDGET)
    fleet.leave(asleep.id)
    assert fault.times == 0
    assert len(deployment.effective("StartInstances")) == 1


async def test_one_command_resizes_a_satellite_that_hibernates(
    deployment: Deployment, ec2: Any
) -> None:
    """Its memory fits no other size: it is woken, stopped, and changed."""
    fleet = await deployment.node(ec2())
    asleep = await deployment.asleep(fleet)
    assert asleep.sleep_kind is SleepKind.HIBERNATED
    bigger = Changes(size="m7i.2xlarge", settings={"cache_gib": "200"})
    await fleet.update(asleep.id, bigger, actor="ann")
    async with asyncio.timeout(LONG):
        async for now in fleet.follow(asleep.id):
            if now.state is State.ASLEEP and not now.change_pending:
                break
    assert (now.size, now.failure) == ("m7i.2xlarge", None)
    instance = Ref.parse(now.ref or "").instance
    assert deployment.faithful.front.world.machines[instance].size == "m7i.2xlarge"
    assert len(deployment.effective("StartInstances")) == 1
    await fleet.admit(asleep.id, actor="test", budget=BUDGET)
    fleet.leave(asleep.id)


@pytest.mark.parametrize(
    ("size", "given", "says"),
    [
        ("t9.huge", {}, "t9.huge"),
        ("m7i.large", {"foo": "bar"}, "foo"),
        ("m7g.large", {}, "arm64"),
        ("m7i.large", {"image": "ami-00000000000000000"}, "ami-0"),
    ],
)
async def test_what_aws_could_never_make_takes_no_name(
    deployment: Deployment, ec2: Any, size: str, given: dict[str, str], says: str
) -> None:
    fleet = await deployment.node(ec2())
    with pytest.raises(Invalid, match=says):
        await fleet.launch(
            NewSatellite(
                org_id=deployment.org_id,
                name="one",
                provisioner="ec2",
                size=size,
                settings=given,
            ),
            actor="ann",
        )
    assert await fleet.list(deployment.org_id) == []
    assert not deployment.effective("RunInstances")


async def test_the_end_leaves_nothing(deployment: Deployment, ec2: Any) -> None:
    provisioner = ec2()
    fleet = await deployment.node(provisioner)
    satellite = await deployment.launched(fleet)
    await fleet.terminate(satellite.id, actor="test")
    await deployment.reaches(fleet, satellite.id, State.TERMINATED)
    assert await provisioner.owned() == {}


REFUSALS = (("InternalError", 500), ("Unavailable", 503), ("RequestLimitExceeded", 503))


def _fault(dice: Random) -> Fault:
    """Something that EC2 does now and then."""
    action = dice.choice(["StartInstances", "StopInstances", "DescribeInstances"])
    effect = dice.choice([Effect.LOSE, Effect.REFUSE])
    if action == "StopInstances" and dice.random() < 0.3:
        effect = Effect.SHUT_DOWN
    code, status = dice.choice(REFUSALS)
    if action == "StartInstances" and dice.random() < 0.3:
        code, status = "InsufficientInstanceCapacity", 500
    return Fault(action, effect, code, "No.", status)


@pytest.mark.parametrize(
    ("seed", "rounds"), [(1, 2), pytest.param(2, 30, marks=[pytest.mark.slow, LONGER])]
)
async def test_whatever_ec2_does_every_build_is_served_and_no_call_has_its_effect_twice(
    deployment: Deployment, ec2: Any, seed: int, rounds: int
) -> None:
    dice = Random(seed)
    nodes = [await deployment.node(ec2()) for _ in range(2)]
    satellites = [await deployment.launched(nodes[0], f"s{n}") for n in range(3)]

    async def build(satellite_id: UUID) -> None:
        node = dice.choice(nodes)
        await node.admit(satellite_id, actor="build", budget=BUDGET)
        await asyncio.sleep(0)
        node.leave(satellite_id)

    for _ in range(rounds):
        deployment.faithful.front.script.faults.extend(_fault(dice) for _ in range(6))
        for satellite in satellites:
            await dice.choice(nodes).sleep(satellite.id, actor="test", force=True)
        await asyncio.gather(*(build(one.id) for one in satellites for _ in range(10)))

    for satellite in satellites:
        events = [step.event for step in await nodes[0].history(satellite.id, 1000)]
        found = await nodes[1].find(deployment.org_id, satellite.name)
        assert found is not None
        instance = Ref.parse(found.ref or "").instance
        for action, event in (("StopInstances", "slept"), ("StartInstances", "woke")):
            calls = sum(instance in effective for effective in deployment.effective(action))
            assert 0 < calls == events.count(event) <= rounds, action
