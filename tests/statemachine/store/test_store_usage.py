"""What satellites were on each day is counted exactly, whatever happens to them and to the log."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from fleetkit.databases import lasting_database, transaction
from fleetkit.stores import Store
from fleetkit.world import QUICK, World
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from torpor_provisioner.contract import Address, Arch, SleepKind
from torpor_statemachine.lifecycle.machine import Event
from torpor_statemachine.lifecycle.specs import NewSatellite
from torpor_statemachine.lifecycle.states import State, WakeKind
from torpor_statemachine.postgres.pool import Database
from torpor_statemachine.store.queries import Queries
from torpor_statemachine.store.usage import Day, Seen, Usage

FAR = (date(2020, 1, 1), date(2060, 1, 1))
_FIRST, _LAST = (datetime(2023, 12, 30), datetime(2024, 3, 2))  # noqa: DTZ001 - as hypothesis asks
INSTANTS = st.datetimes(_FIRST, _LAST, timezones=st.just(UTC))
MOMENTS = INSTANTS | INSTANTS.map(lambda at: at.replace(hour=0, minute=0, second=0, microsecond=0))


def split(since: datetime, until: datetime) -> dict[date, float]:
    """By hand: from midnight to midnight."""
    days: dict[date, float] = {}
    while since < until:
        midnight = datetime.combine(since.date() + timedelta(days=1), datetime.min.time(), UTC)
        days[since.date()] = (min(until, midnight) - since).total_seconds()
        since = midnight
    return days


def test_any_span_is_split_at_midnight_utc(postgres_url: str) -> None:
    with lasting_database(postgres_url) as (runner, database):

        @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
        @given(
            st.sampled_from(("UTC", "America/New_York", "Asia/Kathmandu")),
            st.lists(st.tuples(MOMENTS, MOMENTS), min_size=5, max_size=40),
        )
        def splits(zone: str, spans: list[tuple[datetime, datetime]]) -> None:
            runner.run(_splits(database, zone, spans))

        splits()


async def _splits(database: Database, zone: str, spans: list[tuple[datetime, datetime]]) -> None:
    async with transaction(database) as connection:
        await connection.execute(f"set local timezone = '{zone}'")
        rows = await connection.fetch(
            """select n, days.* from unnest($1::timestamptz[], $2::timestamptz[])
            with ordinality as spans (since, until, n), days_of(since, until) as days""",
            *([span[end] for span in spans] for end in (0, 1)),
        )
    found: dict[int, dict[date, float]] = {n: {} for n in range(len(spans))}
    for row in rows:
        found[row["n"] - 1][row["day"]] = row["seconds"]
    for n, (since, until) in enumerate(spans):
        assert found[n] == split(since, until)
        assert sum(found[n].values()) == pytest.approx(max(0.0, (until - since).total_seconds()))


# --- A satellite's own days

STATES = st.sampled_from([state for state in State if state is not State.TERMINATED])
STEPS = st.lists(st.tuples(STATES, st.floats(-7_200, 200_000)), max_size=8)


def test_whatever_it_does_every_second_is_in_one_state(postgres_url: str) -> None:
    """Steps forward in time, and back as a clock that is set; then it is gone, with all its log."""
    with lasting_database(postgres_url) as (runner, database):

        @settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
        @given(MOMENTS, STATES, STEPS)
        def counts(made: datetime, first: State, steps: list[tuple[State, float]]) -> None:
            runner.run(_counts(database, made, first, steps))

        counts()


async def _counts(
    database: Database, at: datetime, state: State, steps: list[tuple[State, float]]
) -> None:
    satellite_id = await _made(database, state, at)
    due: dict[tuple[date, State], float] = {}
    for after, seconds in [*steps, (State.TERMINATED, 1.0)]:
        then = at + timedelta(seconds=round(seconds))
        if after is state:
            continue
        for day, part in split(at, then).items():
            due[day, state] = due.get((day, state), 0.0) + part
        await database.execute(
            "update satellites set state = $2, state_since = $3 where id = $1",
            *(satellite_id, after.value, then),
        )
        at, state = then, after
    await database.execute("delete from satellites where id = $1", satellite_id)
    days = [day for day in await Usage(database).days(*FAR) if day.satellite_id == satellite_id]
    found = {
        (day.day, state): seconds
        for day in days
        for state, seconds in day.seconds.items()
        if seconds
    }
    assert found == {key: pytest.approx(seconds) for key, seconds in due.items() if seconds}


async def _made(database: Database, state: State, at: datetime) -> UUID:
    await database.execute("insert into orgs (name) values ('acme') on conflict do nothing")
    made: UUID = await database.fetchval(
        """insert into satellites (org_id, name, provisioner, arch, state, state_since)
        select id, 's' || $3, 'cloud', 'x86_64', $1, $2 from orgs returning id""",
        *(state.value, at, uuid4().hex[:8]),
    )
    return made


async def test_the_state_it_is_in_now_counts_until_now(database: Database) -> None:
    """Asleep for three days, without a write; and only what was asked for is told."""
    now = await database.fetchval("select now()")
    midnight = datetime.combine(now.date(), datetime.min.time(), UTC)
    since = midnight - timedelta(days=2, hours=6)
    satellite_id = await _made(database, State.ASLEEP, since)
    days = await Usage(database).days(now.date() - timedelta(days=3), now.date())
    assert [(day.satellite_id, day.day) for day in days] == [
        (satellite_id, now.date() - timedelta(days=back)) for back in (3, 2, 1, 0)
    ]
    asleep = [day.seconds[State.ASLEEP] for day in days]
    assert asleep[:3] == [6 * 3600.0, 86_400.0, 86_400.0]
    assert (now - midnight).total_seconds() <= asleep[3] <= 86_400.0
    [only] = await Usage(database).days(now.date() - timedelta(days=2), now.date() - timedelta(2))
    assert only.seconds[State.ASLEEP] == 86_400.0


async def test_the_store_s_own_events_count_wakes_by_kind(world: World) -> None:
    store = Store(world.database, QUICK, node_id := uuid4())
    await store.nodes.register()
    queries = Queries(world.database)
    by = store.transitions.by("a", "b")
    new = NewSatellite(org_id=world.org_id, name="one", provisioner="cloud", arch=Arch.X86_64)
    changed = await queries.launch(new, by, 60.0, uuid4())
    seen, address = changed.satellite, Address("cloud", 1)
    arrived = store.transitions.arrived
    kinds = (WakeKind.LAUNCHED, WakeKind.STARTED, WakeKind.RESUMED, WakeKind.STARTED)
    for kind in kinds:
        event = Event.LAUNCHED if kind is WakeKind.LAUNCHED else Event.WOKE
        woke = await arrived(seen, by, event, address, kind)
        assert woke is not None
        claimed = await store.transitions.sleep(woke.satellite, by, force=True)
        assert claimed is not None
        slept = await store.transitions.slept(claimed.satellite, by, SleepKind.STOPPED, "")
        assert slept is not None
        again = await store.transitions.wake(slept.satellite, by)
        assert again is not None
        seen = again.satellite
    days = await Usage(world.database).days(*FAR)
    assert _wakes(days) == {WakeKind.LAUNCHED: 1, WakeKind.STARTED: 2, WakeKind.RESUMED: 1}
    assert {(day.org_id, day.name) for day in days} == {(world.org_id, "one")}
    # found by the reconciler: nobody woke it
    await world.database.execute(
        "update satellites set state = 'asleep', claimed_by = null, claim_deadline = null"
    )
    asleep = await queries.by_id(seen.id)
    assert asleep is not None
    await store.transitions.found_at(asleep, by, Event.FOUND_RUNNING, address)
    assert _wakes(await Usage(world.database).days(*FAR)) == _wakes(days)
    assert node_id == by.node_id


def _wakes(days: list[Day]) -> dict[WakeKind, int]:
    return {kind: sum(day.wakes[kind] for day in days) for kind in days[0].wakes}


async def test_a_day_counts_each_size_by_itself(world: World) -> None:
    """Resized at noon while it was updating: the time before is the old size's."""
    noon = datetime(2024, 2, 29, 12, tzinfo=UTC)
    satellite_id = await _made(world.database, State.RUNNING, noon - timedelta(hours=3))
    for state, at, size in (
        (State.UPDATING, noon - timedelta(hours=1), ""),
        (State.ASLEEP, noon, "large"),
        (State.WAKING, noon + timedelta(hours=2), "large"),
    ):
        await world.database.execute(
            "update satellites set state = $2, state_since = $3, size = $4 where id = $1",
            *(satellite_id, state.value, at, size),
        )
    days = await Usage(world.database).days(noon.date(), noon.date())
    spans = {
        (day.size, state, seconds / 3600)
        for day in days
        for state, seconds in day.seconds.items()
        if seconds
    }
    assert spans == {
        *(("", State.RUNNING, 2.0), ("", State.UPDATING, 1.0)),
        *(("large", State.ASLEEP, 2.0), ("large", State.WAKING, 10.0)),
    }
    assert {(day.org, day.provisioner) for day in days} == {("acme", "cloud")}


# --- Streams and holds


async def test_many_nodes_tell_of_the_same_satellites_at_once(world: World) -> None:
    """Each part counts once, though its answer was lost and it is told again."""
    satellites = [await _made(world.database, State.RUNNING, datetime.now(UTC)) for _ in range(9)]
    usage = Usage(world.database)
    nodes = [uuid4() for _ in range(4)]
    for node in nodes:
        await Store(world.database, QUICK, node).nodes.register()

    async def tell(node: UUID, turn: int) -> None:
        those = satellites if turn % 2 else satellites[::-1]
        seen = {each: Seen(1, 0.5) for each in those}
        for _ in range(2):
            assert await usage.add(node, turn, seen)

    for turn in range(1, 4):
        await asyncio.gather(*(tell(node, turn) for node in nodes))
    days = await usage.days(*FAR)
    assert {(day.satellite_id, day.streams, day.held) for day in days} == {
        (each, 12, 6.0) for each in satellites
    }


async def test_a_node_without_a_row_tells_again_when_it_has_one(world: World) -> None:
    satellite = await _made(world.database, State.RUNNING, datetime.now(UTC))
    usage, node = Usage(world.database), uuid4()
    assert not await usage.add(node, 1, {satellite: Seen(3, 0.0)})
    await Store(world.database, QUICK, node).nodes.register()
    assert await usage.add(node, 1, {satellite: Seen(3, 0.0)})
    [day] = await usage.days(*FAR)
    assert day.streams == 3


async def test_one_org_sees_its_own(world: World) -> None:
    await _made(world.database, State.RUNNING, datetime.now(UTC))
    usage = Usage(world.database)
    assert [day.org_id for day in await usage.days(*FAR, "acme")] == [world.org_id]
    assert await usage.days(*FAR, "globex") == []
