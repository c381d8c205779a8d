"""One faithful EC2 for each test process; every test has a deployment and machines of its own."""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any
from uuid import uuid4

import botocore.session
import pytest
import trustme
from botocore.exceptions import ClientError
from botocore.loaders import create_loader
from waiting import LONG

from torpor_provisioner.contract import Arch, MachineState, Observed, SleepKind, Spec
from torpor_provisioner.ec2 import Ec2Provisioner, Ec2Settings, api, power
from torpor_provisioner.ec2.environment import settings_from
from torpor_provisioner.errors import NotReady
from torpor_provisioner.faithful_ec2 import admin
from torpor_provisioner.faithful_ec2.server import FaithfulEc2
from torpor_provisioner.faithful_ec2.stage import KEYS, Stage, set_up
from torpor_provisioner.faithful_ec2.timing import Timing

ACCOUNT = "123456789012"


@pytest.fixture(scope="session", autouse=True)
def _clients_are_made_fast(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """EC2's service description is read once, and one authority for each client, not all 140."""
    bundle = tmp_path_factory.mktemp("authority") / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(bundle))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.session, "create_loader", cache(create_loader))
        patch.setenv("AWS_CA_BUNDLE", str(bundle))
        yield


@pytest.fixture(scope="session")
def _server() -> Iterator[FaithfulEc2]:
    with FaithfulEc2(timing=Timing.short()) as server:
        yield server


@pytest.fixture(scope="session")
def stage(_server: FaithfulEc2) -> Stage:
    return set_up(_server.endpoint)


@pytest.fixture
def faithful(_server: FaithfulEc2, stage: Stage) -> Iterator[FaithfulEc2]:
    """The server, with nothing scripted, full buckets and short times."""
    with _server.front.lock:
        admin.clear(_server.front)
        _server.front.world.timing = Timing.short()
        _server.front.limits.on = True
        _server.front.calls.entries.clear()
    yield _server
    with _server.front.lock:
        admin.clear(_server.front)
        _server.front.world.machines.clear()


@pytest.fixture
def settings(stage: Stage, faithful: FaithfulEc2) -> Ec2Settings:
    return settings_from(stage.environ(f"test-{uuid4().hex[:12]}", PACE="0.05"))


@pytest.fixture
async def ec2(
    settings: Ec2Settings, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Callable[..., Ec2Provisioner]]:
    """Makes provisioners of one deployment, as its nodes have them."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name.upper(), value)
    for module in (api, power):
        monkeypatch.setattr(module, "PAUSE", 0.02)
    made: list[Ec2Provisioner] = []

    def make(**changes: Any) -> Ec2Provisioner:
        made.append(Ec2Provisioner(replace(settings, **changes)))
        return made[-1]

    yield make
    for provisioner in made:
        await provisioner.aclose()


@pytest.fixture
def spec() -> Callable[..., Spec]:
    """Makes the spec of a satellite that is new at each call."""

    def make(
        *,
        name: str = "one",
        org: str = "acme",
        hibernate: bool = True,
        size: str = "m7i.large",
        arch: Arch = Arch.X86_64,
        **settings: str,
    ) -> Spec:
        return Spec(uuid4(), 1, org, name, arch, size, hibernate, settings)

    return make


class Drive:
    """What tests have machines do, and wait for."""

    def __init__(self, faithful: FaithfulEc2) -> None:
        self._faithful = faithful

    async def becomes(self, one: Ec2Provisioner, ref: str, state: MachineState) -> Observed:
        async with asyncio.timeout(LONG):
            while (seen := (await one.observe([ref]))[ref]).state is not state:
                await asyncio.sleep(0.02)
        return seen

    async def ready(self, call: Callable[..., Awaitable[None]], *arguments: Any) -> None:
        """Make the call, again for as long as the machine is not ready for it."""
        async with asyncio.timeout(LONG):
            while True:
                try:
                    return await call(*arguments)
                except NotReady:
                    await asyncio.sleep(0.02)

    async def running(self, one: Ec2Provisioner, spec: Spec) -> str:
        ref = await one.launch(spec, uuid4().hex)
        await self.becomes(one, ref, MachineState.RUNNING)
        return ref

    async def asleep(
        self, one: Ec2Provisioner, spec: Spec, how: SleepKind = SleepKind.STOPPED
    ) -> str:
        ref = await self.running(one, spec)
        await self.ready(one.sleep, ref, how)
        await self.becomes(one, ref, MachineState.ASLEEP)
        return ref

    @contextmanager
    def timing(self, **seconds: float) -> Iterator[None]:
        """Some of `Timing` otherwise, for a while."""
        world = self._faithful.front.world
        before = world.timing
        world.timing = replace(before, **seconds)
        yield
        world.timing = before


@pytest.fixture
def drive(faithful: FaithfulEc2) -> Drive:
    return Drive(faithful)


class _Leaping(selectors.DefaultSelector):
    """Where nothing is to be read, time leaps to the next thing that is due."""

    now = 1000.0

    def select(self, timeout: float | None = None) -> list[Any]:
        events = super().select(0)
        if not events:
            assert timeout is not None, "nothing will ever happen"
            self.now += max(0.0, timeout)
        return events


@pytest.fixture
def virtual() -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Runs a coroutine to its end on a clock of its own, on which waiting takes no time."""

    def run(main: Coroutine[Any, Any, Any]) -> Any:
        leaping = _Leaping()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(time, "monotonic", lambda: leaping.now)
            with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(leaping)) as runner:
                return runner.run(main)

    return run


@dataclass
class PlayedClient:
    """EC2's client as `Api` sees it: each call is noted with its time and given to `answer`."""

    answer: Callable[[str, dict[str, Any]], Any] = lambda action, arguments: {}
    seconds: float = 0.0  # that a call takes
    calls: list[tuple[float, str, dict[str, Any]]] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        async def call(**arguments: Any) -> Any:
            self.calls.append((time.monotonic(), name, arguments))
            await asyncio.sleep(self.seconds)
            told = self.answer(name, arguments)
            if isinstance(told, Exception):
                raise told
            return told

        return call


@pytest.fixture
def played() -> type[PlayedClient]:
    return PlayedClient


@pytest.fixture
def refusal() -> Callable[..., ClientError]:
    """Makes what the SDK raises."""

    def make(code: str, message: str = "", status: int = 400) -> ClientError:
        told: Any = {
            "Error": {"Code": code, "Message": message},
            "ResponseMetadata": {"HTTPStatusCode": status},
        }
        return ClientError(told, "Action")

    return make
