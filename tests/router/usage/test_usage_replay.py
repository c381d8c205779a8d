"""A month as the database counts it, replayed transition by transition, against hand arithmetic.

March 2026 has 31 days, and in most of Europe and America the clocks go forward in it; the session's
zone is one of those. Days are UTC's, so no hour is lost. Money is to the cent.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import asyncpg
import pytest

from torpor_router.usage.prices import Prices, read
from torpor_router.usage.report import cents, report
from torpor_statemachine.lifecycle.states import WakeKind
from torpor_statemachine.postgres.pool import Database
from torpor_statemachine.store.usage import Day, Usage

PRICES: Prices = read("""
currency = "EUR"
[ec2."c7i.xlarge"]
awake = 0.1785
asleep = 0.011
[ec2."m7i.large"]
awake = 0.1008
asleep = 0.0054
""")
FIRST, LAST = date(2026, 3, 1), date(2026, 3, 31)
WORKING = [day for day in range(1, 32) if date(2026, 3, day).weekday() < 5]  # 22
MARCH = datetime(2026, 3, 1, tzinfo=UTC)


def at(day: int, hour: float = 0) -> datetime:
    """That moment of March; days below 1 and over 31 are of the months beside."""
    return MARCH + timedelta(days=day - 1, hours=hour)


class Replay:
    """One satellite of acme, by transitions as the store writes them."""

    def __init__(self, database: asyncpg.Connection, satellite_id: UUID) -> None:
        self._database = database
        self._id = satellite_id

    @classmethod
    async def launched(
        cls, database: asyncpg.Connection, name: str, size: str, since: datetime, team: str
    ) -> Replay:
        await database.execute("insert into orgs (name) values ('acme') on conflict do nothing")
        made = await database.fetchval(
            """insert into satellites
                (org_id, name, provisioner, arch, size, state, state_since, labels)
            select id, $1, 'ec2', 'x86_64', $2, 'launching', $3,
                jsonb_build_object('team', $4::text) from orgs returning id""",
            *(name, size, since, team),
        )
        return cls(database, made)

    async def becomes(self, state: str, when: datetime, kind: str | None = None) -> None:
        await self._database.execute(
            """update satellites set state = $2, state_since = $3,
                wake_kind = coalesce($4, wake_kind) where id = $1""",
            *(self._id, state, when, kind),
        )

    async def works(self, day: int, begins: float, ends: float) -> None:
        """Awake from `begins` to `ends`: 3 minutes to wake up, 12 to fall asleep."""
        await self.becomes("waking", at(day, begins))
        await self.becomes("running", at(day, begins + 0.05), "resumed")
        await self.becomes("sleeping", at(day, ends - 0.2))
        await self.becomes("asleep", at(day, ends))

    async def gone(self, when: datetime) -> None:
        await self.becomes("terminating", when - timedelta(hours=1))
        await self.becomes("terminated", when)
        await self._database.execute("delete from transitions where satellite_id = $1", self._id)
        await self._database.execute("delete from satellites where id = $1", self._id)


@pytest.mark.parametrize("zone", ["Europe/Prague", "America/New_York"])
async def test_a_month_to_the_cent(database: Database, database_url: str, zone: str) -> None:
    session = await asyncpg.connect(database_url, server_settings={"timezone": zone})
    try:
        await _replay(session)
    finally:
        await session.close()
    _hold(await Usage(database).days(FIRST, LAST))


async def _replay(database: asyncpg.Connection) -> None:
    # one: there since February, builds from 08:00 to 14:00 on 22 working days, there in April too
    one = await Replay.launched(database, "one", "c7i.xlarge", at(-3), "web")
    await one.becomes("running", at(-3, 0.5), "launched")
    await one.becomes("asleep", at(0, 12))
    for day in WORKING:
        await one.works(day, 8, 14)
    await one.becomes("waking", at(33))
    # two: awake in the night of the 28th, when the clocks go forward, and over the month's end
    two = await Replay.launched(database, "two", "m7i.large", at(28, 12), "data")
    await two.becomes("running", at(28, 12.5), "launched")
    await two.becomes("asleep", at(29, 12.5))
    await two.works(31, 20, 30)
    await two.becomes("waking", at(35))
    # three: made on the 10th, never asleep, removed on the 12th with all its log
    three = await Replay.launched(database, "three", "c7i.xlarge", at(10, 6), "web")
    await three.becomes("running", at(10, 6.5), "launched")
    await three.gone(at(12, 18))


def _hold(days: list[Day]) -> None:
    [first, third, second], total = report(days, PRICES, "satellite")
    assert (first.name, second.name, third.name) == ("acme/one", "acme/two", "acme/three")

    assert (first.awake / 3600, first.asleep / 3600) == (132, 744 - 132)  # 31 x 24 = 744
    assert cents(first.spent) == Decimal("30.29")  # 132 x 0.1785 = 23.562; 612 x 0.011 = 6.732
    assert cents(first.always_on) == Decimal("132.80")  # 744 x 0.1785 = 132.804
    assert cents(first.saved) == Decimal("102.51")
    assert first.waking == 22 * 180
    assert first.wakes[WakeKind.RESUMED] == 22
    assert first.wakes[WakeKind.LAUNCHED] == 0, "that was in February"

    # from the 28th at 12:00: 24.5 h, and 4 h of the 31st; the rest of 84 h asleep
    assert (second.awake / 3600, second.asleep / 3600) == (Decimal("28.5"), Decimal("55.5"))
    assert cents(second.spent) == Decimal("3.17")  # 2.8728 + 0.2997
    assert cents(second.always_on) == Decimal("8.47")  # 84 x 0.1008 = 8.4672
    assert second.wakes[WakeKind.LAUNCHED] == second.wakes[WakeKind.RESUMED] == 1

    assert third.awake / 3600 == 60
    assert cents(third.spent) == cents(third.always_on) == Decimal("10.71")
    assert third.saved == 0

    assert cents(total.spent) == Decimal("44.18")  # 30.294 + 3.1725 + 10.71 = 44.1765
    assert cents(total.saved) == Decimal("107.80")  # 102.51 + 5.2947 = 107.8047

    teams, _ = report(days, PRICES, "label:team")
    assert [(line.name, cents(line.spent)) for line in teams] == [
        ("data", Decimal("3.17")),
        ("web", Decimal("41.00")),  # 30.294 + 10.71 = 41.004, one of them gone
    ]
    by_day, _ = report(days, PRICES, "day")
    assert [line.name for line in by_day] == [f"2026-03-{day:02}" for day in range(1, 32)]
    on_29th = next(line for line in by_day if line.name == "2026-03-29")
    whole = sum(getattr(on_29th, what) for what in ("awake", "asleep", "failed"))
    assert whole / 3600 == 48, "two satellites, 24 hours each"
