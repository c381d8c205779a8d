"""A door with an in-memory gate, the node's answers behind it, and a worker that is told things."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime

import grpc
import pytest
from doorkit.fakes import NOWHERE
from doorkit.fixtures import *  # noqa: F403 - fixtures are found by their names here
from doorkit.serving import serving

from torpor_provisioner.contract import Address
from torpor_router.dialects.bazel import Capabilities
from torpor_router.dialects.ended import Ended
from torpor_router.dialects.last_answers import LastAnswers
from torpor_router.dialects.looks import Looks
from torpor_router.dialects.thanks import Thanks
from torpor_router.relay import admission
from torpor_router.relay.events import Unobserved
from torpor_statemachine.postgres.pool import DatabaseAway
from torpor_statemachine.store.answers import Answer

WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@dataclass
class Collector(grpc.GenericRpcHandler):
    """A worker that takes every call: telling ones (it may be slow to thank), and builds."""

    calls: list[str] = field(default_factory=list)
    told: list[bytes] = field(default_factory=list)
    answer: bytes = b"the worker"
    answers: asyncio.Event = field(default_factory=asyncio.Event)
    address: Address = NOWHERE

    def service(self, details):
        self.calls.append(details.method)
        if details.method.endswith("Stream"):
            return grpc.stream_stream_rpc_method_handler(self.stream)
        return grpc.unary_unary_rpc_method_handler(self.unary)

    async def unary(self, request, context):
        self.told.append(request)
        await self.answers.wait()
        if self.answer == b"failed":
            await context.abort(grpc.StatusCode.INTERNAL, "no")
        return self.answer

    async def stream(self, requests, context):
        async for each in requests:
            self.told.append(each)
            yield b"the worker"


@dataclass
class Noticed(Unobserved):
    """What telemetry is told."""

    refusals: list[str] = field(default_factory=list)
    holds: int = 0

    def refused(self, error, route, peer):
        self.refusals.append(error.code)

    def held(self, request, route, waited):
        self.holds += 1


@pytest.fixture(autouse=True)
def _patient(monkeypatch):
    """Here the machine may be so slow that what only tells takes long to find its worker."""
    monkeypatch.setattr(admission, "TELL", 30.0)


@pytest.fixture
async def collector():
    made = Collector()
    made.answers.set()
    async with serving(made) as made.address:
        yield made


class Shelf:
    """Answers in memory, of satellites that are all as they were; `away`: the database is."""

    def __init__(self):
        self.kept = {}
        self.writes = []
        self.reads = 0
        self.away = False

    async def keep(self, satellite_id, epoch, method, answer):
        if self.away:
            raise DatabaseAway("for a test")
        self.writes.append((satellite_id, epoch, method))
        self.kept[satellite_id, method] = Answer(answer, WHEN)

    async def last(self, satellite_id, method):
        self.reads += 1
        if self.away:
            raise DatabaseAway("for a test")
        return self.kept.get((satellite_id, method))


@pytest.fixture
def shelf():
    return Shelf()


@pytest.fixture
async def answers(shelf):
    made = LastAnswers(shelf)
    yield made
    await made.aclose()


@pytest.fixture
async def node(answers):
    """Where the node's own services are."""
    async with serving(Capabilities(), Thanks(), Ended(), Looks(answers)) as address:
        yield address


@pytest.fixture  # type: ignore[no-redef]
async def house(house_with, collector, node, answers):
    """acme/one is awake, acme/two sleeps."""
    made = await house_with(own=node, answers=answers)
    made.gate.add("acme/one", collector.address)
    made.gate.add("acme/two", collector.address, awake=False)
    return made


@pytest.fixture
def noticed(house):
    made = house.door.relay.observer = Noticed()
    return made
