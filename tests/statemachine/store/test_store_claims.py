"""The store as a whole against a plain Python model of it: any order of writes by any node.

Writers act on what they last read, which may long be wrong. After each step the rows must be as
the model has them, and the duties must name whom the model would.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest
from fleetkit.databases import lasting_database
from fleetkit.stores import Store
from fleetkit.world import QUICK
from fleetkit.writes import CLAIMS, COMPLETIONS
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from lifemodel import guards
from lifemodel.guards import Row, Seen
from lifemodel.rows import NodeModel, SatelliteModel

from torpor_statemachine.lifecycle.machine import EVENTS, Event
from torpor_statemachine.lifecycle.satellite import Satellite
from torpor_statemachine.lifecycle.specs import NewSatellite
from torpor_statemachine.lifecycle.states import TRANSIENT_STATES, State
from torpor_statemachine.postgres.pool import Database
from torpor_statemachine.store.duties import Duties
from torpor_statemachine.store.queries import Queries

# A node dies only where the test says so, however slow the machine is
CONFIG = replace(
    QUICK, first_back_off=1e-6, longest_back_off=1e-6, claims_live=3600.0, leases_live=3600.0
)
NUMBERS = st.integers(0, 1)  # of nodes, and of satellites
AGO = "now() - interval '1 hour'"
SEVERAL = 2


class StoreMachine(RuleBasedStateMachine):
    def __init__(self, runner: asyncio.Runner, database: Database) -> None:
        super().__init__()
        self.run = runner.run
        self.database = database
        self.queries = Queries(database)
        self.duties = Duties(database, CONFIG)
        self.nodes = [NodeModel() for _ in range(SEVERAL)]
        self.stores = [Store(database, CONFIG, node.id) for node in self.nodes]
        self.satellites: list[SatelliteModel] = []
        # What a node believes of a satellite: what it last read
        self.beliefs: dict[tuple[int, int], Satellite] = {}

    @initialize()
    def begin(self) -> None:
        self.run(self.database.execute("delete from satellites"))
        self.run(self.database.execute("delete from nodes"))
        self.run(self.database.execute("delete from orgs"))
        org_id = uuid4()
        self.run(self.database.execute("insert into orgs values ($1, 'acme')", org_id))
        for number in range(SEVERAL):
            self.register(number)
        for number in range(SEVERAL):
            new = NewSatellite(org_id=org_id, name=f"s{number}", provisioner="cloud")
            by = self.stores[0].transitions.by("a", "b")
            made = self.run(self.queries.launch(new, by, 3600.0, uuid4())).satellite
            self.satellites.append(SatelliteModel(made.id, Row(State.LAUNCHING, 1, 0)))
            for node in range(SEVERAL):
                self.beliefs[node, number] = made
            self.completes(0, number, Event.LAUNCHED)
        for node in range(SEVERAL):
            self.reads(node, 0)

    # --- Nodes

    @rule(number=NUMBERS)
    def register(self, number: int) -> None:
        node = self.nodes[number]
        node.registered(self.run(self.stores[number].nodes.register()))
        for satellite in self.satellites:
            satellite.leases.discard(number)

    @rule(number=NUMBERS)
    def renew(self, number: int) -> None:
        node = self.nodes[number]
        status = self.run(self.stores[number].nodes.renew(node.term))
        same = node.row_term == node.term
        assert (status is not None) is guards.renews(same_term=same, leases_live=node.leases_live)
        if status is None:
            return
        node.lives = True
        held = {one.id for one in self.satellites if number in one.leases}
        assert status.leases == held
        mine = {one.id: one.row.epoch for one in self.satellites if one.row.claimed_by == number}
        assert status.claims == mine

    @rule(number=NUMBERS)
    def leave(self, number: int) -> None:
        self.run(self.stores[number].nodes.leave())
        node = self.nodes[number]
        if node.row_term is None:
            return
        self._forget(number)
        for satellite in self.satellites:
            if satellite.row.claimed_by == number:
                satellite.row = satellite.row._replace(late=True)

    def _forget(self, number: int) -> None:
        self.nodes[number].forgotten()
        for satellite in self.satellites:
            satellite.leases.discard(number)

    @rule(number=NUMBERS, leases_too=st.booleans())
    def is_silent(self, number: int, leases_too: bool) -> None:
        node = self.nodes[number]
        what = f"expires_at = {AGO}" + (f", leases_until = {AGO}" if leases_too else "")
        self.run(self.database.execute(f"update nodes set {what} where id = $1", node.id))
        node.lives = False
        node.leases_live = node.leases_live and not leases_too

    @rule(number=NUMBERS)
    def sweep(self, number: int) -> None:
        dead = [
            other
            for other, node in enumerate(self.nodes)
            if node.row_term is not None and not node.leases_live
        ]
        assert self.run(self.stores[number].leases.sweep(0.0, 0.0)) == len(dead)
        for other in dead:
            self._forget(other)
        for satellite in self.satellites:
            satellite.idles_if_unused()

    # --- Leases

    @rule(number=NUMBERS, which=NUMBERS)
    def take(self, number: int, which: int) -> None:
        node, satellite = self.nodes[number], self.satellites[which]
        taken = self.run(self.stores[number].leases.take(satellite.id, node.term))
        lives = node.row_term == node.term and node.leases_live
        assert taken.leased is guards.gives_lease(satellite.row, term_lives=lives)
        self.beliefs[number, which] = taken.satellite
        if taken.leased:
            satellite.leased(number)

    @rule(number=NUMBERS, which=NUMBERS)
    def drop(self, number: int, which: int) -> None:
        satellite = self.satellites[which]
        self.run(self.stores[number].leases.drop([satellite.id], 0.0))
        satellite.leases.discard(number)
        satellite.idles_if_unused()

    # --- Claims and completions

    @rule(number=NUMBERS, which=NUMBERS)
    def reads(self, number: int, which: int) -> None:
        satellite = self.run(self.queries.by_id(self.satellites[which].id))
        self.beliefs[number, which] = satellite

    @rule(number=NUMBERS, which=NUMBERS, event=st.sampled_from(sorted(CLAIMS)))
    def claims(self, number: int, which: int, event: Event) -> None:
        believed, model = self.beliefs[number, which], self.satellites[which]
        if believed.state not in EVENTS[event].sources:
            return
        changed = self.run(self.stores[number].change(event, believed))
        lives = self.nodes[number].lives
        seen = _seen(believed)
        expected = guards.claims(event, model.row, seen, lives=lives, leased=bool(model.leases))
        assert (changed is not None) is expected
        if changed is not None:
            model.claimed(event, number)
            self.beliefs[number, which] = changed.satellite

    @rule(number=NUMBERS, which=NUMBERS, event=st.sampled_from(sorted(COMPLETIONS)))
    def completes(self, number: int, which: int, event: Event) -> None:
        believed, model = self.beliefs[number, which], self.satellites[which]
        if believed.state not in EVENTS[event].sources:
            return
        changed = self.run(self.stores[number].change(event, believed))
        expected = guards.completes(event, model.row, _seen(believed), number)
        assert (changed is not None) is expected
        if changed is not None:
            model.completed(event)
            self.beliefs[number, which] = changed.satellite

    @rule(number=NUMBERS, which=NUMBERS)
    def takes_over(self, number: int, which: int) -> None:
        believed, model = self.beliefs[number, which], self.satellites[which]
        store = self.stores[number]
        by = store.transitions.by("a", "b")
        changed = self.run(store.transitions.take_over(believed, by, 3600.0))
        claimant = self._number_of(believed.claimed_by)
        lives = claimant is not None and self.nodes[claimant].lives
        seen = _seen(believed, claimant)
        expected = guards.takes_over(model.row, seen, number, claimant_lives=lives)
        assert (changed is not None) is expected
        if changed is not None:
            model.taken_over(number)
            self.beliefs[number, which] = changed.satellite

    @rule(number=NUMBERS, which=NUMBERS)
    def commits(self, number: int, which: int) -> None:
        believed, model = self.beliefs[number, which], self.satellites[which]
        committed = self.run(self.stores[number].transitions.commit_to_sleep(believed))
        assert committed is guards.commits_to_sleep(model.row, believed.epoch)
        if committed:
            model.row = model.row._replace(sleep_called=True)

    @rule(number=NUMBERS, which=NUMBERS)
    def requests(self, number: int, which: int) -> None:
        believed, model = self.beliefs[number, which], self.satellites[which]
        requested = self.run(self.stores[number].transitions.request_wake(believed))
        assert requested is guards.requests_wake(model.row, believed.epoch)
        if requested:
            model.row = model.row._replace(wake_requested=True)

    @rule(which=NUMBERS)
    def deadline_passes(self, which: int) -> None:
        model = self.satellites[which]
        if model.row.claimed_by is not None:
            sql = f"update satellites set claim_deadline = {AGO} where id = $1"
            self.run(self.database.execute(sql, model.id))
            model.row = model.row._replace(late=True)

    @rule(which=NUMBERS)
    def idles_for_long(self, which: int) -> None:
        model = self.satellites[which]
        if model.idle:
            sql = f"update satellites set sleep_due = {AGO} where id = $1"
            self.run(self.database.execute(sql, model.id))
            model.due = True

    @precondition(lambda self: any(one.due for one in self.satellites))
    @rule(number=NUMBERS)
    def reaps(self, number: int) -> None:
        claimed = self.run(self.stores[number].reap())
        due = {
            which
            for which, one in enumerate(self.satellites)
            if one.due and not one.leases and self.nodes[number].lives
        }
        told = {changed.satellite.id: changed.satellite for changed, _ in claimed}
        assert set(told) == {self.satellites[which].id for which in due}
        for which in due:
            model = self.satellites[which]
            model.claimed(Event.SLEEP, number)
            self.beliefs[number, which] = told[model.id]

    # --- What holds after each step

    @invariant()
    def rows_are_as_modelled(self) -> None:
        for model in self.satellites:
            satellite = self.run(self.queries.by_id(model.id))
            row = model.row
            claimed_by = self.nodes[row.claimed_by].id if row.claimed_by is not None else None
            assert (satellite.state, satellite.epoch) == (row.state, row.epoch)
            assert satellite.claimed_by == claimed_by
            assert (satellite.state in TRANSIENT_STATES) is (claimed_by is not None)
            assert satellite.sleep_called is row.sleep_called
            assert satellite.wake_requested is row.wake_requested
            assert (satellite.idle_since is not None) is model.idle

    @invariant()
    def leases_are_as_modelled(self) -> None:
        found = self.run(self.database.fetch("select satellite_id, node_id from leases"))
        leases = {(row["satellite_id"], row["node_id"]) for row in found}
        assert leases == {
            (one.id, self.nodes[number].id) for one in self.satellites for number in one.leases
        }
        assert all(one.row.state is State.RUNNING for one in self.satellites if one.leases)

    @invariant()
    def duties_are_as_modelled(self) -> None:
        undone = {
            one.id
            for one in self.satellites
            if (by := one.row.claimed_by) is not None and (one.row.late or not self.nodes[by].lives)
        }
        grace = -1.0  # Postgres has been up for long enough
        assert {one.id for one in self.run(self.duties.undone(["cloud"], grace))} == undone
        wanted = {
            one.id
            for one in self.satellites
            if one.row.state is State.ASLEEP and one.row.wake_requested
        }
        assert {one.id for one in self.run(self.duties.wanted(["cloud"]))} == wanted

    @invariant()
    def everything_is_logged(self) -> None:
        for model in self.satellites:
            assert len(self.run(self.queries.history(model.id, 1000))) == model.log

    def _number_of(self, node_id: UUID | None) -> int | None:
        return next((n for n, node in enumerate(self.nodes) if node.id == node_id), None)


def _seen(satellite: Satellite, claimed_by: int | None = None) -> Seen:
    return Seen(satellite.state, satellite.epoch, claimed_by)


@pytest.fixture(scope="module")
def lasting(postgres_url: str) -> Iterator[tuple[asyncio.Runner, Database]]:
    with lasting_database(postgres_url) as made:
        yield made


BRIEFLY = settings(
    max_examples=10,
    stateful_step_count=40,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def test_any_order_of_writes(lasting: Any) -> None:
    run_state_machine_as_test(lambda: StoreMachine(*lasting), settings=BRIEFLY)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_any_order_of_writes_at_length(lasting: Any) -> None:
    at_length = settings(BRIEFLY, max_examples=300, stateful_step_count=100)
    run_state_machine_as_test(lambda: StoreMachine(*lasting), settings=at_length)  # type: ignore[arg-type]
