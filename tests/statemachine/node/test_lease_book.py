"""The leases of one node: in its book, in the database, and what keeps the two alike."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from fleetkit.databases import transaction
from fleetkit.world import World
from waiting import until

from torpor_provisioner.contract import Address
from torpor_statemachine.errors import PutToSleep, UnknownSatellite
from torpor_statemachine.lifecycle.departure import Departure, departure
from torpor_statemachine.lifecycle.machine import EVENTS as MACHINE
from torpor_statemachine.lifecycle.machine import Event
from torpor_statemachine.lifecycle.satellite import Transition
from torpor_statemachine.lifecycle.states import State
from torpor_statemachine.node.lease_book import LeaseBook
from torpor_statemachine.node.lease_keeper import LeaseKeeper
from torpor_statemachine.postgres.pool import DatabaseAway
from torpor_statemachine.store.leases import Taken
from torpor_statemachine.store.nodes import NodeStatus

BUDGET = 60.0
ADDRESS = Address("cloud", 1)


@dataclass
class Bookkeeping:
    book: LeaseBook
    given_up: list[UUID]
    trusted: list[bool]
    id: UUID = field(default_factory=uuid4)


@pytest.fixture
async def kept() -> Bookkeeping:
    given_up: list[UUID] = []
    trusted = [True]
    book = LeaseBook(lambda: trusted[0], given_up.append, linger=0.01)
    return Bookkeeping(book, given_up, trusted)


async def test_a_lease_outlives_its_last_stream_by_a_moment(kept: Bookkeeping) -> None:
    kept.book.take(kept.id, ADDRESS, 1)
    assert kept.book.enter(kept.id) is not None
    kept.book.leave(kept.id)
    assert kept.book.enter(kept.id) is not None  # the next one came in time
    await asyncio.sleep(0.05)
    assert not kept.given_up
    kept.book.leave(kept.id)
    await until(lambda: kept.given_up == [kept.id])
    assert kept.book.enter(kept.id) is None
    assert not kept.book._entries


async def test_a_lease_that_nobody_enters_is_given_up(kept: Bookkeeping) -> None:
    kept.book.take(kept.id, ADDRESS, 1)
    await until(lambda: kept.given_up == [kept.id])


async def test_no_stream_enters_without_trust(kept: Bookkeeping) -> None:
    kept.book.take(kept.id, ADDRESS, 1)
    kept.trusted[0] = False
    assert kept.book.enter(kept.id) is None
    assert kept.book.streams == 0


async def test_a_glance_counts_nobody_in(kept: Bookkeeping) -> None:
    assert kept.book.glance(kept.id) is None
    kept.book.take(kept.id, ADDRESS, 1)
    assert kept.book.glance(kept.id) is not None
    assert kept.book.streams == 0
    kept.trusted[0] = False
    assert kept.book.glance(kept.id) is None


async def test_a_stream_outlives_its_lease_and_counts_under_the_next(kept: Bookkeeping) -> None:
    kept.book.take(kept.id, ADDRESS, 1)
    kept.book.enter(kept.id)
    kept.book.end(kept.id, 2)
    kept.book.end(kept.id, 2)
    assert kept.book.newest(kept.id) == 2
    assert kept.book.enter(kept.id) is None
    kept.book.take(kept.id, ADDRESS, 3)
    admitted = kept.book.enter(kept.id)
    assert admitted is not None
    assert admitted.epoch == 3
    kept.book.leave(kept.id)
    await asyncio.sleep(0.05)
    assert not kept.given_up  # the first is open still
    kept.book.leave(kept.id)
    await until(lambda: kept.given_up == [kept.id])


async def test_a_stream_too_many_is_a_fault_of_ours(kept: Bookkeeping) -> None:
    kept.book.take(kept.id, ADDRESS, 1)
    with pytest.raises(AssertionError, match="more streams left"):
        kept.book.leave(kept.id)
    kept.book.clear()


async def test_a_new_term_tells_of_every_open_stream(kept: Bookkeeping) -> None:
    idle, lost = uuid4(), uuid4()
    for satellite_id in (kept.id, idle, lost):
        kept.book.take(satellite_id, ADDRESS, 1)
    kept.book.enter(kept.id)
    kept.book.enter(lost)
    kept.book.end(lost, 2)
    assert kept.book.unpin() == {kept.id, lost}
    assert not kept.book.held()
    assert "0 leases, 2 streams" in repr(kept.book)


# --- With a database whose answers come when a test says


class Store:
    """Leases in memory. A call in `held` waits until it is released."""

    def __init__(self, world_row: Any) -> None:
        self.row = world_row
        self.leased: set[UUID] = set()
        self.dropped: list[set[UUID]] = []
        self.held: dict[str, asyncio.Event] = {}
        self.departures: list[Departure] = []

    async def take(self, satellite_id: UUID, _term: int) -> Taken:
        self.leased.add(satellite_id)
        await self._wait("take")
        return Taken(replace(self.row, id=satellite_id), leased=True)

    async def departure(self, satellite_id: UUID, since: int) -> Departure | None:
        await self._wait("departure")
        return next((each for each in self.departures if each.epoch > since), None)

    async def request_wake(self, _satellite: Any) -> bool:
        return True

    async def drop(self, satellite_ids: set[UUID], _lingered: float) -> None:
        await self._wait("drop")
        self.leased -= set(satellite_ids)
        self.dropped.append(set(satellite_ids))

    async def _wait(self, call: str) -> None:
        if gate := self.held.get(call):
            await gate.wait()


class Believer:
    term = 1

    def leases_hold(self) -> bool:
        return True


@dataclass
class Held:
    lease_keeper: LeaseKeeper
    store: Store
    node: Believer
    id: UUID = field(default_factory=uuid4)
    told: list[Departure] = field(default_factory=list)
    since: int = 0
    left: Departure | None = None


@pytest.fixture
async def held(world: World) -> Callable[[float], Any]:
    fleet = await world.node()
    row = await world.launched(fleet)

    def make(linger: float) -> Held:
        node, store = Believer(), Store(row)
        return Held(LeaseKeeper(store, node, linger, store.request_wake), store, node)  # type: ignore[arg-type]

    return make


async def test_a_lease_of_a_term_that_ended_before_its_answer_came(held: Any) -> None:
    kept = held(3600.0)
    gate = kept.store.held["take"] = asyncio.Event()
    taking = asyncio.create_task(kept.lease_keeper.take(uuid4()))
    await asyncio.sleep(0)
    kept.node.term = 2
    kept.lease_keeper.renamed()
    gate.set()
    taken = await taking
    assert not taken.leased
    assert not kept.lease_keeper.book.held()


async def test_what_is_being_taken_is_not_given_up(held: Any) -> None:
    kept = held(0.01)
    one = uuid4()
    await kept.lease_keeper.take(one)
    gate = kept.store.held["take"] = asyncio.Event()
    taking = asyncio.create_task(kept.lease_keeper.take(one))
    await until(lambda: not kept.lease_keeper.book.held())  # the first has lingered out meanwhile
    gate.set()
    assert (await taking).leased
    assert not kept.store.dropped
    assert kept.lease_keeper.book.held() == {one}
    await until(lambda: kept.store.dropped == [{one}])
    await kept.lease_keeper.aclose()


async def test_a_lease_is_taken_only_when_the_last_was_given_up(held: Any) -> None:
    kept = held(0.01)
    one = uuid4()
    gate = kept.store.held["drop"] = asyncio.Event()
    await kept.lease_keeper.take(one)
    await until(lambda: kept.lease_keeper._to_drop)
    taking = asyncio.create_task(kept.lease_keeper.take(one))
    await asyncio.wait((taking,), timeout=0.05)
    assert not taking.done()
    gate.set()
    await taking
    assert one in kept.store.leased
    kept.lease_keeper.book.clear()


async def test_what_the_heartbeat_shows_is_mended(held: Any) -> None:
    kept = held(3600.0)
    here, there, open_here = uuid4(), uuid4(), uuid4()
    for satellite_id in (here, open_here):
        await kept.lease_keeper.take(satellite_id)
    kept.lease_keeper.book.enter(open_here)
    kept.lease_keeper.book.lose(open_here)
    told: list[Departure] = []
    kept.lease_keeper.on_sleep(told.append)
    kept.store.leased = {there, open_here}
    status = NodeStatus(leases=frozenset(kept.store.leased), claims={})
    kept.lease_keeper.compare(status, asked_at=float("inf"))
    assert here not in kept.lease_keeper.book.held()  # it believed in it, the database did not
    await until(lambda: kept.store.dropped == [{there}])  # the other way round
    await until(
        lambda: kept.lease_keeper.book.held() == {open_here}
    )  # streams are open: taken anew
    assert not told  # that a lease went missing says nothing of its satellite
    kept.lease_keeper.book.leave(open_here)
    await kept.lease_keeper.aclose()


async def test_a_lease_that_a_failover_lost_is_taken_again_under_its_streams(world: World) -> None:
    fleet = await world.node()
    satellite = await world.launched(fleet)
    await fleet.admit(satellite.id, actor="x", budget=BUDGET)
    told: list[Departure] = []
    fleet.on_sleep(told.append)
    async with transaction(world.database) as connection:  # as it was before the stream came
        await connection.execute("delete from leases")
        await connection.execute(
            "update satellites set idle_since = now(), sleep_due = now() + interval '1 minute'"
        )
    await until(lambda: _leased(world))
    await until(lambda: fleet.enter(satellite.id))
    assert (await world.now(fleet)).idle_since is None
    assert not told  # its machine ran all the time, and its streams go on
    for _ in range(2):
        fleet.leave(satellite.id)
    await until(lambda: _idle(world, fleet))


async def _leased(world: World) -> bool:
    return await world.database.fetchval("select exists (select from leases)")


async def test_streams_of_a_lost_lease_hear_that_their_satellite_sleeps(world: World) -> None:
    fleet, other = await world.node(), await world.node()
    satellite = await world.launched(other)
    await fleet.admit(satellite.id, actor="x", budget=BUDGET)
    told: list[Departure] = []
    fleet.on_sleep(told.append)
    heard = fleet._lease_keeper.heard
    fleet._lease_keeper.heard = lambda *_: None  # type: ignore[method-assign]  # nor LISTEN nor poll
    await world.database.execute("delete from leases")
    await other.sleep(satellite.id, actor="x", force=True)
    await until(lambda: told)
    [left] = told
    assert (left.satellite_id, left.epoch) == (satellite.id, satellite.epoch + 1)
    assert str(left.why).startswith("TPR-2102")
    assert "by x (forced)" in str(left.why)
    fleet._lease_keeper.heard = heard  # type: ignore[method-assign]
    fleet.leave(satellite.id)


async def test_what_came_after_the_question_is_not_judged_by_the_answer(held: Any) -> None:
    kept = held(3600.0)
    one = uuid4()
    await kept.lease_keeper.take(one)
    kept.lease_keeper.compare(NodeStatus(frozenset(), {}), asked_at=0.0)
    assert kept.lease_keeper.book.held() == {one}
    await kept.lease_keeper.aclose()


async def test_a_lease_is_the_databases_to_give_up(world: World) -> None:
    """With the real store: the last stream of the last node starts the clock."""
    nodes = [await world.node() for _ in range(2)]
    satellite = await world.launched(nodes[0])
    for node in nodes:
        await node.admit(satellite.id, actor="x", budget=BUDGET)
    nodes[0].leave(satellite.id)
    await until(
        lambda: not nodes[0]._lease_keeper.book.held() and not nodes[0]._lease_keeper._to_drop
    )
    assert (await world.now(nodes[0])).idle_since is None
    nodes[1].leave(satellite.id)
    await until(lambda: _idle(world, nodes[0]))


async def _idle(world: World, fleet: Any) -> bool:
    return (await world.now(fleet)).idle_since is not None


# --- Satellites that have left running


@pytest.fixture
async def leaving(held: Any) -> Any:
    """A keeper with one satellite, and what it tells the door of it."""
    kept = held(3600.0)
    kept.lease_keeper.on_sleep(kept.told.append)
    await kept.lease_keeper.take(kept.id)
    kept.since = kept.lease_keeper.book.newest(kept.id)
    kept.left = Departure(kept.id, kept.since + 1, PutToSleep("by token:ci (forced)"))
    yield kept
    await kept.lease_keeper.aclose()


async def test_what_was_heard_is_told_with_its_reason_once(leaving: Any) -> None:
    leaving.lease_keeper.book.enter(leaving.id)
    leaving.store.departures = [leaving.left]
    for _ in range(2):  # this node made it, and hears of it by LISTEN too
        leaving.lease_keeper.heard(leaving.id, leaving.since + 1)
    assert leaving.lease_keeper.book.enter(leaving.id) is None  # at once
    await until(lambda: not leaving.lease_keeper._looking)
    assert leaving.told == [leaving.left]
    leaving.lease_keeper.heard(leaving.id, leaving.since)  # late news
    assert leaving.told == [leaving.left]


async def test_a_satellite_without_streams_leaves_without_a_reason(leaving: Any) -> None:
    leaving.lease_keeper.left(leaving.left)
    assert leaving.told == [replace(leaving.left, why=None)]
    elsewhere = uuid4()  # no lease, but perhaps connections
    leaving.lease_keeper.heard(elsewhere, 7)
    assert leaving.told[1:] == [Departure(elsewhere, 7)]


async def test_the_reason_is_asked_for_until_the_database_answers(leaving: Any) -> None:
    leaving.lease_keeper.book.enter(leaving.id)
    answer, leaving.store.departure = leaving.store.departure, _away
    leaving.lease_keeper.heard(leaving.id, leaving.since + 1)
    await asyncio.sleep(0.01)
    assert not leaving.told
    leaving.store.departures, leaving.store.departure = [leaving.left], answer
    await until(lambda: leaving.told == [leaving.left])


async def _away(*_: object) -> None:
    raise DatabaseAway("it is away")


async def test_a_sleep_that_nobody_told_of_is_found_by_the_next_lease(leaving: Any) -> None:
    """It slept and was woken, both unheard: the streams of before are over all the same."""
    leaving.lease_keeper.book.enter(leaving.id)
    leaving.store.departures = [leaving.left]
    leaving.store.row = replace(leaving.store.row, epoch=leaving.since + 2)
    await leaving.lease_keeper.take(leaving.id)
    await until(lambda: leaving.told == [leaving.left])
    assert leaving.lease_keeper.book.epoch(leaving.id) == leaving.since + 2  # the new one stands


async def test_a_satellite_that_is_no_more_ends_what_is_open_on_it(leaving: Any) -> None:
    leaving.lease_keeper.book.enter(leaving.id)
    leaving.store.take = _none
    leaving.lease_keeper.compare(NodeStatus(frozenset(), {}), asked_at=float("inf"))
    await until(lambda: leaving.told)
    assert [type(each.why) for each in leaving.told] == [UnknownSatellite]


async def _none(*_: object) -> None:
    return None


EVENTS = [
    (Event.SLEEP, "TPR-2102", "by token:ci (forced)"),
    (Event.TERMINATE, "TPR-2103", "by token:ci (forced)"),
    (Event.FOUND_ASLEEP, "TPR-2104", "User initiated"),
    (Event.LOST, "TPR-2105", "User initiated"),
]


@pytest.mark.parametrize(("event", "code", "says"), EVENTS)
def test_each_way_out_of_running_has_its_code(event: Event, code: str, says: str) -> None:
    left = departure(_transition(event))
    assert left is not None
    assert left.epoch == 4
    assert str(left.why).startswith(code)
    assert says in str(left.why)


def test_every_way_out_of_running_is_one_of_these() -> None:
    out = {
        event
        for event, edge in MACHINE.items()
        if State.RUNNING in edge.sources and edge.target is not State.RUNNING
    }
    assert out == {event for event, _, _ in EVENTS}
    assert departure(_transition(Event.WAKE)) is None
    assert departure(_transition(Event.TOOK_OVER)) is None


def _transition(event: Event) -> Transition:
    edge = MACHINE.get(event)
    source = State.RUNNING if edge and State.RUNNING in edge.sources else State.ASLEEP
    return Transition(
        id=1,
        satellite_id=uuid4(),
        epoch=4,
        event=event.value,
        source=source,
        target=edge.target if edge else source,
        at=datetime.now(UTC),
        node_id=None,
        actor="token:ci",
        reason="forced",
        detail="User initiated",
    )
