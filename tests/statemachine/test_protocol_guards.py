"""The explorer's guards against the store's SQL: the same inputs, the same answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from fleetkit.databases import lasting_database
from fleetkit.world import QUICK
from fleetkit.writes import CLAIMS, COMPLETIONS, Write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lifemodel import guards
from lifemodel.decisions import SATELLITE
from lifemodel.guards import Row, Seen

from torpor_statemachine.lifecycle.machine import EVENTS, Event
from torpor_statemachine.lifecycle.satellite import Satellite
from torpor_statemachine.lifecycle.states import TRANSIENT_STATES, State
from torpor_statemachine.postgres.pool import Database
from torpor_statemachine.store.changes import Changed
from torpor_statemachine.store.leases import Leases
from torpor_statemachine.store.nodes import Nodes
from torpor_statemachine.store.transitions import Transitions

EXAMPLES = settings(
    max_examples=60,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
MANY = settings(EXAMPLES, max_examples=2000)
EPOCHS = st.sampled_from([4, 5, 6])
NODES = [uuid4(), uuid4()]


@dataclass(frozen=True)
class Case:
    """What the database holds. Node 0 writes; the row is 5 epochs old or thereabouts."""

    row: Row
    seen: Seen
    lives: tuple[bool, bool]  # by `expires_at`
    leases_live: bool  # of node 0
    same_term: bool
    leased_by_other: bool


@st.composite
def cases(draw: st.DrawFn) -> Case:
    state = draw(st.sampled_from([*State, State.RUNNING, State.RUNNING, State.SLEEPING]))
    # mostly as it should be: else nearly nothing would be accepted
    sane = [0, 1] if state in TRANSIENT_STATES else [None]
    owner = draw(st.sampled_from([*sane, *sane, None, 0, 1]))
    row = Row(
        state,
        5,
        owner,
        late=owner is not None and draw(st.booleans()),
        sleep_called=draw(st.booleans()),
        wake_requested=draw(st.booleans()),
        failed=draw(st.booleans()),
        backing_off=draw(st.booleans()),
    )
    seen_state = draw(st.one_of(st.just(state), st.just(state), st.sampled_from(list(State))))
    seen = Seen(seen_state, draw(st.one_of(st.just(5), EPOCHS)), owner)
    return Case(
        row=row,
        seen=seen,
        lives=(draw(st.booleans()), draw(st.booleans())),
        leases_live=draw(st.booleans()),
        same_term=draw(st.booleans()),
        leased_by_other=draw(st.booleans()),
    )


class Sql:
    """The store, and one satellite that is made as a case says."""

    def __init__(self, database: Database, org_id: UUID) -> None:
        self.database = database
        self.transitions = Transitions(database, QUICK, NODES[0])
        self.leases = Leases(database, NODES[0])
        self.nodes = Nodes(database.vital, QUICK, NODES[0])
        self.org_id = org_id
        self.term = 0
        self.id = uuid4()

    async def make(self, case: Case) -> Satellite:
        row = case.row
        await self.database.execute("delete from satellites")
        await self.database.execute("delete from nodes")
        for number, node_id in enumerate(NODES):
            leases_live = case.leases_live if number == 0 else True
            self.term = await self.database.fetchval(
                """insert into nodes (id, expires_at, leases_until) values ($1,
                    now() + $2 * interval '1 hour', now() + $3 * interval '1 hour')
                returning term - $4""",
                node_id,
                1 if case.lives[number] else -1,
                1 if leases_live else -1,
                number,
            )
        if not case.same_term:
            self.term -= 1
        by = NODES[row.claimed_by] if row.claimed_by is not None else None
        await self.database.execute(
            """insert into satellites (id, org_id, name, provisioner, arch, state, epoch,
                claimed_by, claim_deadline, sleep_called, wake_requested, failure, retry_at,
                host, port, ref, wanted)
            values ($1, $2, 'one', 'cloud', 'x86_64', $3, $4, $5, $6, $7, $8, $9, $10,
                'cloud', 1, 'm', '{"size": "", "settings": {}}')""",
            self.id,
            self.org_id,
            row.state.value,
            row.epoch,
            by,
            _hours(-1 if row.late else 1) if by is not None else None,
            row.sleep_called,
            row.wake_requested,
            "TPR-2202 no" if row.failed else None,
            _hours(1 if row.backing_off else -1),
        )
        if case.leased_by_other:
            await self.database.execute(
                "insert into leases (satellite_id, node_id) values ($1, $2)", self.id, NODES[1]
            )
        return replace(SATELLITE, id=self.id, org_id=self.org_id, **_as_seen(case.seen))


def _hours(number: int) -> datetime:
    return datetime.now(UTC) + timedelta(hours=number)


def _as_seen(seen: Seen) -> dict[str, Any]:
    by = NODES[seen.claimed_by] if seen.claimed_by is not None else None
    return {"state": seen.state, "epoch": seen.epoch, "claimed_by": by}


Run = Callable[[Callable[[Sql], Awaitable[Any]]], Any]


@pytest.fixture(scope="module")
def run(postgres_url: str) -> Iterator[Run]:
    """Runs something with the store on a loop that lasts as long as the module."""
    with lasting_database(postgres_url) as (runner, database):
        org_id = uuid4()
        runner.run(database.execute("insert into orgs (id, name) values ($1, 'acme')", org_id))
        sql = Sql(database, org_id)
        yield lambda what: runner.run(what(sql))  # type: ignore[arg-type]


def test_every_event_is_of_one_kind() -> None:
    unclaimed = {
        *(Event.FOUND_ASLEEP, Event.FOUND_RUNNING, Event.MOVED, Event.LOST),
        Event.CORRECTED,
    }
    assert set(EVENTS) == CLAIMS.keys() | COMPLETIONS.keys() | unclaimed


def _accepts(run: Run, case: Case, write: Write) -> Changed | None:
    async def written(sql: Sql) -> Changed | None:
        satellite = await sql.make(case)
        return await write(sql.transitions, satellite, sql.transitions.by("x", "y"))

    return run(written)


def _possible(events: dict[Event, Write]) -> st.SearchStrategy[tuple[Event, Case]]:
    """An event, and a case in which its writer saw a state that it may come from."""

    def fits(event: Event) -> st.SearchStrategy[tuple[Event, Case]]:
        sources = st.sampled_from(sorted(EVENTS[event].sources))

        def seen(case: Case, source: State) -> tuple[Event, Case]:
            really = source if case.row.state is case.seen.state else case.row.state
            row = case.row._replace(state=really)
            return event, replace(case, row=row, seen=case.seen._replace(state=source))

        return st.builds(seen, cases(), sources)

    return st.sampled_from(sorted(events)).flatmap(fits)


def _claims(run: Run, event: Event, case: Case) -> None:
    changed = _accepts(run, case, CLAIMS[event])
    expected = guards.claims(
        event, case.row, case.seen, lives=case.lives[0], leased=case.leased_by_other
    )
    assert (changed is not None) is expected
    if changed is not None:
        after = changed.satellite
        assert (after.epoch, after.claimed_by) == (case.row.epoch + 1, NODES[0])
        assert after.state is EVENTS[event].target
        assert after.state in TRANSIENT_STATES


def _completes(run: Run, event: Event, case: Case) -> None:
    changed = _accepts(run, case, COMPLETIONS[event])
    assert (changed is not None) is guards.completes(event, case.row, case.seen, 0)
    if changed is not None:
        goes_on = event is Event.WAKE_FAILED
        assert changed.satellite.epoch == case.row.epoch + goes_on
        assert (changed.satellite.claimed_by is not None) is goes_on
        assert changed.satellite.state is EVENTS[event].target


def _takes_over(run: Run, case: Case) -> None:
    changed = _accepts(run, case, lambda store, seen, by: store.take_over(seen, by, 60.0))
    owner = case.seen.claimed_by
    lives = owner is not None and case.lives[owner]
    expected = guards.takes_over(case.row, case.seen, 0, claimant_lives=lives)
    assert (changed is not None) is expected
    if changed is not None:
        after = changed.satellite
        assert (after.state, after.epoch) == (case.row.state, case.row.epoch + 1)
        assert after.claimed_by == NODES[0]


def _steps(run: Run, case: Case) -> None:
    async def stepped(sql: Sql) -> tuple[bool, bool]:
        satellite = await sql.make(case)
        commits = await sql.transitions.commit_to_sleep(satellite)
        return commits, await sql.transitions.request_wake(satellite)

    commits, requests = run(stepped)
    assert commits is guards.commits_to_sleep(case.row, case.seen.epoch)
    assert requests is guards.requests_wake(case.row, case.seen.epoch)


def _leases(run: Run, case: Case) -> None:
    async def took(sql: Sql) -> tuple[bool, bool, int]:
        await sql.make(case)
        taken = await sql.leases.take(sql.id, sql.term)
        assert taken is not None
        held = await sql.database.fetchval(
            "select exists (select from leases where node_id = $1)", NODES[0]
        )
        return taken.leased, held, taken.satellite.epoch

    leased, held, epoch = run(took)
    term_lives = case.same_term and case.leases_live
    assert leased is guards.gives_lease(case.row, term_lives=term_lives)
    assert held is leased
    assert epoch == case.row.epoch


def _renews(run: Run, case: Case) -> None:
    async def renewed(sql: Sql) -> Any:
        await sql.make(case)
        return await sql.nodes.renew(sql.term), sql.id

    status, satellite_id = run(renewed)
    expected = guards.renews(same_term=case.same_term, leases_live=case.leases_live)
    assert (status is not None) is expected
    if status is not None:
        mine = case.row.claimed_by == 0
        assert status.claims == ({satellite_id: case.row.epoch} if mine else {})


CLAIMING, COMPLETING = _possible(CLAIMS), _possible(COMPLETIONS)


@EXAMPLES
@given(CLAIMING)
def test_claims(run: Run, given_: tuple[Event, Case]) -> None:
    _claims(run, *given_)


@EXAMPLES
@given(COMPLETING)
def test_completions(run: Run, given_: tuple[Event, Case]) -> None:
    _completes(run, *given_)


@EXAMPLES
@given(cases())
def test_taking_over(run: Run, case: Case) -> None:
    _takes_over(run, case)


@EXAMPLES
@given(cases())
def test_steps_inside_a_claim(run: Run, case: Case) -> None:
    _steps(run, case)


@EXAMPLES
@given(cases())
def test_leases_and_renewals(run: Run, case: Case) -> None:
    _leases(run, case)
    _renews(run, case)


@pytest.mark.slow
@pytest.mark.timeout(900)
@MANY
@given(CLAIMING, COMPLETING, cases())
def test_all_guards_at_length(
    run: Run, claiming: tuple[Event, Case], completing: tuple[Event, Case], case: Case
) -> None:
    _claims(run, *claiming)
    _completes(run, *completing)
    for check in (_takes_over, _steps, _leases, _renews):
        check(run, case)
