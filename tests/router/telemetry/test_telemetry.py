"""Metrics as a scraper reads them, health as a load balancer does, and the log lines beside."""

from __future__ import annotations

import asyncio
import logging
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from unittest.mock import Mock
from uuid import UUID

import pytest
from prometheus_client.parser import text_string_to_metric_families
from waiting import LONG

from torpor_provisioner.contract import Address, Arch
from torpor_provisioner.errors import Capacity
from torpor_router.access.errors import BadToken
from torpor_router.control.ports import Observer as ControlProtocol
from torpor_router.errors import WorkerLost
from torpor_router.limits import Limits
from torpor_router.rate_limited_log import AT_ONCE, RateLimitedLog
from torpor_router.relay.events import Counts
from torpor_router.relay.events import Observer as RelayProtocol
from torpor_router.routing import Route
from torpor_router.strangers import Strangers
from torpor_router.telemetry import lag
from torpor_router.telemetry.catalogue import METRICS, Kind
from torpor_router.telemetry.month import OTHER, Month
from torpor_router.telemetry.telemetry import Telemetry
from torpor_router.usage.groups import Groups
from torpor_router.usage.prices import Price, Prices
from torpor_statemachine import clock
from torpor_statemachine.events import Observer as FleetProtocol
from torpor_statemachine.lifecycle.machine import Event
from torpor_statemachine.lifecycle.satellite import Satellite, Transition
from torpor_statemachine.lifecycle.states import SleepMode, State, WakeKind
from torpor_statemachine.node.stream_reports import KeptAwake
from torpor_statemachine.postgres.pool import Database

ONE = UUID(int=1)
ROUTE = Route(ONE, "acme", "one", "token:ci")
REQUEST = SimpleNamespace(fields=[])
FLEET = SimpleNamespace(kept_awake=KeptAwake())
PRICES = Prices("EUR", {"cloud": {"": Price(Decimal("0.5"), Decimal("0.1"))}})
NOW = datetime(2026, 5, 4, tzinfo=UTC)
SATELLITE = Satellite(
    id=ONE,
    org_id=ONE,
    org="acme",
    name="one",
    provisioner="local",
    arch=Arch.X86_64,
    size="",
    sleep_mode=SleepMode.AUTO,
    sleep_after=timedelta(minutes=30),
    state=State.RUNNING,
    state_since=NOW,
    created_at=NOW,
    generation=1,
    epoch=7,
)


def transition(reason: str = "idle 30m") -> Transition:
    return Transition(
        *(1, ONE, 7, "sleep", State.RUNNING, State.SLEEPING, NOW, ONE, "reaper", reason)
    )


class Scraper:
    def __init__(self, address: Address) -> None:
        self.address = address

    async def get(self, path: str, method: str = "GET", accept: str = "") -> tuple[int, str, str]:
        """Status, content type and body."""
        request = urllib.request.Request(
            f"http://{self.address.host}:{self.address.port}{path}",
            method=method,
            headers={"Accept": accept} if accept else {},
        )

        def fetch() -> tuple[int, str, str]:
            try:
                with urllib.request.urlopen(request, timeout=LONG) as response:
                    return (
                        response.status,
                        response.headers["Content-Type"],
                        response.read().decode(),
                    )
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, error.headers["Content-Type"], error.read().decode()

        return await asyncio.to_thread(fetch)

    async def samples(self) -> dict[tuple[str, frozenset], float]:
        _, _, body = await self.get("/metrics")
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(body)
            for sample in family.samples
        }

    async def value(self, name: str, **labels: str) -> float | None:
        return (await self.samples()).get((name, frozenset(labels.items())))


def door(counts=None, holds=None, accept_failures=0) -> SimpleNamespace:
    """What is read of a door, which had one stranger too many."""
    relay = SimpleNamespace(counts=counts or Counts(), holds=holds or SimpleNamespace(total=0))
    strangers = Strangers(Limits(strangers=1))
    for _ in range(2):
        strangers.enter(Mock(), "192.0.2.1")
    return SimpleNamespace(
        relay=relay,
        accept_failures=accept_failures,
        disbelieved=Counter({"other CA": 2}),
        strangers=strangers,
    )


@pytest.fixture
async def telemetry() -> AsyncIterator[Telemetry]:
    async with Telemetry() as telemetry:
        yield telemetry


@pytest.fixture
async def scraper(telemetry: Telemetry) -> Scraper:
    return Scraper(await telemetry.listen("127.0.0.1", 0))


def everything_once(telemetry: Telemetry) -> None:
    door: RelayProtocol = telemetry.relay_observer
    door.connection_opened("peer")
    door.held(REQUEST, ROUTE, 0.0)
    door.admitted(REQUEST, 7)
    door.released(REQUEST, ROUTE, 3.2, WakeKind.RESUMED)
    door.gave_up(REQUEST, ROUTE, 0.5, None)
    door.gave_up(REQUEST, ROUTE, 0.5, Capacity("m7i"))
    door.refused(BadToken(), None, "peer")
    door.worker_lost(ROUTE, WorkerLost(), 4)
    door.connection_closed("peer", "it went")
    fleet: FleetProtocol = telemetry.fleet_observer
    fleet.transitioned(transition(), SATELLITE)
    fleet.woke(SATELLITE, WakeKind.STARTED, 11.0)
    fleet.lost_memory(SATELLITE)
    fleet.provisioner_failed(SATELLITE, "wake", Capacity("m7i"))
    fleet.database(answers=True)


async def test_every_metric_of_the_catalogue_can_be_scraped(telemetry, scraper, database) -> None:
    await database.execute("insert into strays values ('ec2', 'i-1', gen_random_uuid(), 1)")
    telemetry.read(door=door(), fleet=FLEET, database=database)
    telemetry.count_notices({"delivered": 1})
    telemetry.read_month(Month(database, PRICES, Groups()))
    everything_once(telemetry)
    async with asyncio.timeout(LONG):
        while await scraper.value("torpor_event_loop_lag_seconds_count") is None:
            await asyncio.sleep(0.05)
        while await scraper.value("torpor_month_streams", by="", group="") is None:
            await asyncio.sleep(0.05)
    _, content_type, body = await scraper.get("/metrics")
    assert content_type.startswith("text/plain")
    families = {family.name: family for family in text_string_to_metric_families(body)}
    assert families.keys() == {metric.name.removesuffix("_total") for metric in METRICS}
    for metric in METRICS:
        family = families[metric.name.removesuffix("_total")]
        assert family.type == metric.kind.value
        assert family.documentation == metric.says
        for sample in family.samples:
            assert sample.labels.keys() - {"le"} == set(metric.labels), metric.name
            if metric.kind is Kind.COUNTER:
                assert sample.name == metric.name


async def test_what_was_told_is_counted(telemetry, scraper) -> None:
    everything_once(telemetry)
    everything_once(telemetry)
    value = scraper.value
    hold, wake = "torpor_hold_duration_seconds", "torpor_wake_duration_seconds"
    assert await value(f"{hold}_count", wake_kind="resumed", outcome="released") == 2
    assert await value(f"{hold}_sum", wake_kind="resumed", outcome="released") == 6.4
    assert await value(f"{hold}_bucket", wake_kind="resumed", outcome="released", le="2.5") == 0
    assert await value(f"{hold}_bucket", wake_kind="resumed", outcome="released", le="5.0") == 2
    assert await value(f"{hold}_count", wake_kind="", outcome="cancelled") == 2
    assert await value(f"{hold}_count", wake_kind="", outcome="refused") == 2
    assert await value(f"{wake}_sum", wake_kind="started") == 22
    assert await value("torpor_refusals_total", code="TPR-1101") == 2
    assert await value("torpor_worker_lost_total", code="TPR-4002") == 2
    assert await value("torpor_transitions_total", event="sleep", reason="idle") == 2
    failures = "torpor_provisioner_failures_total"
    assert await value(failures, call="wake", code="TPR-2202") == 2


async def test_what_has_not_happened_is_at_zero_from_the_start() -> None:
    async with Telemetry(provisioners=["ec2"]) as telemetry:
        scraper = Scraper(await telemetry.listen("127.0.0.1", 0))
        value = scraper.value
        hold = "torpor_hold_duration_seconds"
        assert await value(f"{hold}_count", wake_kind="resumed", outcome="released") == 0
        assert await value(f"{hold}_bucket", wake_kind="", outcome="refused", le="0.05") == 0
        assert await value("torpor_wake_duration_seconds_count", wake_kind="launched") == 0
        assert await value("torpor_transitions_total", event="wake_failed", reason="request") == 0
        assert await value("torpor_refusals_total", code="TPR-1101") == 0
        assert await value("torpor_worker_lost_total", code="TPR-4002") == 0
        assert await value("torpor_memory_lost_total", provisioner="ec2") == 0
        failures = "torpor_provisioner_failures_total"
        assert await value(failures, call="wake", code="TPR-2202") == 0
        before = len(await scraper.samples())
        telemetry.relay_observer.refused(BadToken(), None, "peer")
        assert await value("torpor_refusals_total", code="TPR-1101") == 1
        families = {each for each, _ in await scraper.samples()}
        assert len(await scraper.samples()) == before, "each series is there once"
        assert len(families) < 60
        openmetrics = "application/openmetrics-text; version=1.0.0"
        assert "torpor_refusals_total" in (await scraper.get("/metrics", accept=openmetrics))[2]


async def test_the_month_of_all_and_of_the_largest_groups(
    telemetry, scraper, database: Database
) -> None:
    """Three orgs, of which the largest has a series; a label that one satellite has."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    await database.execute("insert into orgs (name) values ('big'), ('mid'), ('small')")
    for org, hours in (("big", 6), ("mid", 3), ("small", 1)):
        await database.execute(
            """insert into satellite_days
                (satellite_id, day, org_id, name, provisioner, labels, running, asleep, resumed)
            select gen_random_uuid(), $2, id, 'x', 'cloud', $4::jsonb, $3, $3, 2
              from orgs where name = $1""",
            *(org, today.date(), hours * 3600.0),
            '{"team": "web"}' if org == "small" else "{}",
        )
    telemetry.read_month(Month(database, PRICES, Groups(("org", "label:team"), 1)))
    async with asyncio.timeout(LONG):
        while await scraper.value("torpor_month_streams", by="", group="") is None:
            await asyncio.sleep(0.05)

    async def awake(by: str, group: str) -> float | None:
        return await scraper.value("torpor_month_hours", state="awake", by=by, group=group)

    assert await awake("", "") == 10
    assert await awake("org", "big") == 6
    assert await awake("org", "mid") is None
    assert await awake("org", OTHER) == 4
    assert await awake("label:team", "(none)") == 9
    assert await awake("label:team", OTHER) == 1
    money = {"currency": "EUR", "by": "", "group": ""}
    assert await scraper.value("torpor_month_money", amount="spent", **money) == 6.0
    assert await scraper.value("torpor_month_money", amount="always_on", **money) == 10.0
    assert await scraper.value("torpor_month_money", amount="saved", **money) == 4.0
    wakes = {"wake_kind": "resumed", "by": "org", "group": OTHER}
    assert await scraper.value("torpor_month_wakes", **wakes) == 4


async def test_streams_are_read_not_told(telemetry, scraper, database) -> None:
    counts, holds = Counts(), SimpleNamespace(total=3)
    telemetry.read(door=door(counts, holds, accept_failures=3), fleet=FLEET, database=database)
    counts.streams_opened, counts.streams_closed = 1_000_000, 999_990
    counts.connections_opened, counts.connections_closed = 50, 8
    assert await scraper.value("torpor_open_streams") == 10
    assert await scraper.value("torpor_streams_total") == 1_000_000
    assert await scraper.value("torpor_open_connections") == 42
    assert await scraper.value("torpor_connections_total") == 50
    assert await scraper.value("torpor_held_requests") == 3
    assert await scraper.value("torpor_accept_failures_total") == 3
    disbelieved = "torpor_client_certificates_disbelieved_total"
    assert await scraper.value(disbelieved, reason="other CA") == 2
    assert await scraper.value("torpor_strangers") == 1
    assert await scraper.value("torpor_strangers_refused_total", code="TPR-3017") == 1
    holds.total = 0
    assert await scraper.value("torpor_held_requests") == 0


async def test_what_is_kept_awake_is_read_as_of_the_last_heartbeat(
    telemetry, scraper, database
) -> None:
    fleet = SimpleNamespace(kept_awake=KeptAwake())
    telemetry.read(door=door(), fleet=fleet, database=database)
    oldest = "torpor_oldest_stream_keeping_awake_seconds"
    assert await scraper.value("torpor_satellites_kept_awake") == 0
    assert await scraper.value(oldest) == 0
    fleet.kept_awake = KeptAwake(2, 7, clock.now() - 3600)
    assert await scraper.value("torpor_satellites_kept_awake") == 2
    assert await scraper.value("torpor_streams_keeping_awake") == 7
    assert await scraper.value(oldest) >= 3600


async def test_reasons_have_few_values(telemetry, scraper) -> None:
    for n in range(200):
        telemetry.fleet_observer.transitioned(transition(f"idle {n}m"), SATELLITE)
        telemetry.fleet_observer.transitioned(transition(f"{'x' * n} made up"), SATELLITE)
    told = [name for name, _ in await scraper.samples() if name == "torpor_transitions_total"]
    assert len(told) < 40 + 5 * len(Event)
    assert await scraper.value("torpor_transitions_total", event="sleep", reason="idle") == 200
    assert await scraper.value("torpor_transitions_total", event="sleep", reason="other") > 100


async def test_whether_the_database_answers(telemetry, scraper) -> None:
    assert await scraper.value("torpor_database_up") == 1
    telemetry.fleet_observer.database(answers=False)
    assert await scraper.value("torpor_database_up") == 0


async def test_the_census_is_asked_for_once_for_many_scrapes(
    telemetry, scraper, database: Database
) -> None:
    telemetry.read(door=door(), fleet=FLEET, database=database)
    await database.execute("insert into orgs (name) values ('acme')")
    await database.execute(
        """
        insert into satellites (org_id, name, provisioner, arch, state)
        select id, 's' || n, 'local', 'x86_64', case when n < 4 then 'asleep' else 'terminated' end
          from orgs, generate_series(1, 9) as n
        """
    )
    await database.execute(
        "insert into strays values ('ec2', 'i-1', gen_random_uuid(), 1),"
        " ('ec2', 'i-2', gen_random_uuid(), 1)"
    )
    before = database.queries
    found = await asyncio.gather(*(scraper.samples() for _ in range(5)))
    assert database.queries == before + 2  # is there a count? then it counts
    for samples in found:
        assert samples["torpor_stray_machines", frozenset({("provisioner", "ec2")})] == 2
        states = {
            dict(labels)["state"]: value
            for (name, labels), value in samples.items()
            if name == "torpor_satellites"
        }
        assert states == {
            state.value: 3 if state is State.ASLEEP else 0
            for state in State
            if state is not State.TERMINATED
        }


async def test_statements_are_counted(telemetry, scraper, database: Database) -> None:
    telemetry.read(door=door(), fleet=FLEET, database=database)
    before = await scraper.value("torpor_database_statements_total")
    for _ in range(3):
        await database.fetchval("select 1")
    after = await scraper.value("torpor_database_statements_total")
    assert after - before in (3, 4)  # a scrape may count satellites meanwhile


async def test_what_the_database_kept_waiting(telemetry, scraper, database: Database) -> None:
    telemetry.read(door=door(), fleet=FLEET, database=database)
    database.waits["lock"] += 2
    assert await scraper.value("torpor_database_waits_total", waited_for="lock") == 2
    assert await scraper.value("torpor_database_waits_total", waited_for="connection") == 0


async def test_a_scrape_does_not_need_the_database(telemetry, scraper, database: Database) -> None:
    telemetry.read(door=door(), fleet=FLEET, database=database)
    await database.aclose()
    names = {name for name, _ in await scraper.samples()}
    assert "torpor_satellites" not in names
    assert "torpor_open_streams" in names


async def test_health_follows_the_event_loop(telemetry, scraper, monkeypatch) -> None:
    assert (await scraper.get("/healthz"))[::2] == (200, "ok\n")
    monkeypatch.setattr("torpor_router.telemetry.telemetry.STALLED", 0.0)
    address = telemetry._endpoints[0].address
    blocked = Scraper(address)
    status, _, body = await blocked.get("/healthz")
    assert status == 503
    assert "event loop" in body


async def test_readiness_is_said_by_the_node(telemetry, scraper) -> None:
    assert (await scraper.get("/readyz"))[0] == 503
    telemetry.ready = True
    assert (await scraper.get("/readyz"))[0] == 200
    telemetry.fleet_observer.database(answers=False)
    assert (await scraper.get("/readyz"))[0] == 200, "running satellites can still be reached"
    telemetry.ready = False
    assert (await scraper.get("/readyz"))[0] == 503


async def test_a_stall_of_the_loop_is_measured(telemetry, scraper) -> None:
    await asyncio.sleep(0)
    time.sleep(0.6)  # what nothing on the loop may do
    async with asyncio.timeout(LONG):
        while not await scraper.value("torpor_event_loop_lag_seconds_count"):
            await asyncio.sleep(0.05)
    assert await scraper.value("torpor_event_loop_lag_seconds_sum") > 0.6 - 2 * lag.PAUSE
    assert await scraper.value("torpor_event_loop_lag_seconds_bucket", le="0.25") < (
        await scraper.value("torpor_event_loop_lag_seconds_count")
    )


async def test_the_endpoint_answers_what_it_should(scraper) -> None:
    assert (await scraper.get("/"))[0] == 404
    assert (await scraper.get("/metrics", method="POST"))[0] == 501
    status, _, body = await scraper.get("/healthz?verbose", method="HEAD")
    assert (status, body) == (200, "")
    status, content_type, body = await scraper.get(
        "/metrics", accept="application/openmetrics-text; version=1.0.0"
    )
    assert status == 200
    assert content_type.startswith("application/openmetrics-text")
    assert body.endswith("# EOF\n")


async def test_a_scraper_that_hangs_up_hurts_nobody(scraper, caplog) -> None:
    for _ in range(5):
        _, writer = await asyncio.open_connection(*scraper.address)
        writer.write(b"GET /metrics HTTP/1.1\r\n\r\n")
        writer.transport.abort()
    assert (await scraper.get("/healthz"))[0] == 200
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_an_address_in_use_is_an_error(telemetry, scraper) -> None:
    with pytest.raises(OSError, match="in use"):
        await telemetry.listen(*scraper.address)


async def test_two_nodes_in_one_process_are_apart(telemetry, scraper) -> None:
    async with Telemetry() as other:
        theirs = Scraper(await other.listen("127.0.0.1", 0))
        telemetry.relay_observer.refused(BadToken(), None, "peer")
        assert await scraper.value("torpor_refusals_total", code="TPR-1101") == 1
        assert await theirs.value("torpor_refusals_total", code="TPR-1101") == 0


def test_a_refusal_is_one_line_with_what_is_known(caplog) -> None:
    caplog.set_level(logging.INFO)
    observer = Telemetry().relay_observer
    observer.refused(BadToken(), None, "203.0.113.9:1")
    observer.refused(WorkerLost("it ended"), ROUTE, "203.0.113.9:1")
    first, second = caplog.records
    assert (first.code, first.peer, first.cause) == (
        "TPR-1101",
        "203.0.113.9:1",
        BadToken.cause,
    )
    assert (second.satellite, second.caller) == ("acme/one", "token:ci")
    assert second.cause.endswith(": it ended")


async def test_refusals_of_the_control_api_are_counted_and_told(telemetry, scraper, caplog) -> None:
    caplog.set_level(logging.INFO)
    control: ControlProtocol = telemetry.control_observer
    control.refused(BadToken(), "", "", "203.0.113.9:1")
    control.refused(WorkerLost(), "acme", "token:ci", "203.0.113.9:1")
    telemetry.relay_observer.refused(BadToken(), None, "203.0.113.9:1")
    assert await scraper.value("torpor_refusals_total", code="TPR-1101") == 2
    first, second, _ = caplog.records
    assert (first.name, first.code, first.peer) == ("torpor.control", "TPR-1101", "203.0.113.9:1")
    assert not hasattr(first, "org")
    assert (second.org, second.caller) == ("acme", "token:ci")


def test_a_crowd_of_refusals_does_not_hide_a_lost_worker(caplog) -> None:
    caplog.set_level(logging.INFO)
    observer = Telemetry().relay_observer
    for _ in range(500):
        observer.refused(BadToken(), None, "203.0.113.9:1")
    observer.worker_lost(ROUTE, WorkerLost(), 1)
    assert caplog.records[-1].message == "worker lost"


def test_strangers_cannot_fill_the_log(caplog) -> None:
    caplog.set_level(logging.INFO)
    now = [100.0]
    limited = RateLimitedLog(logging.getLogger("limited"), lambda: now[0])
    for _ in range(5_000):
        limited.info("refused", {"code": "TPR-1101"})
    assert len(caplog.records) == AT_ONCE
    now[0] += 1.0
    limited.warning("refused", {"code": "TPR-1101"})
    last = caplog.records[-1]
    assert (last.levelno, last.unsaid) == (logging.WARNING, 5_000 - AT_ONCE)
    limited.info("refused", {"code": "TPR-1101"})
    assert not hasattr(caplog.records[-1], "unsaid")


def test_telling_is_cheap_enough_for_the_loop() -> None:
    """Ten thousand held requests are released at once: that must not hold up the loop for long."""
    observer = Telemetry().relay_observer
    telling = measure = 0.0
    for _ in range(20):  # in turns, so that a neighbour on this core slows both
        begun = time.thread_time()
        for _ in range(500):
            observer.released(REQUEST, ROUTE, 3.2, WakeKind.RESUMED)
        between = time.thread_time()
        for n in range(25_000):  # fifty of the simplest steps for each
            str(n)
        telling += between - begun
        measure += time.thread_time() - between
    assert telling < 5 * measure
