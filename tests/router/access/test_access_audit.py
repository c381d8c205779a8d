"""The audit log: complete, only ever added to, bounded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from torpor_router.access.audit import REFUSALS, Act, Audit

LONG = 60.0  # seconds until a test is called broken


@pytest.fixture
async def audit(database) -> AsyncIterator[Audit]:
    async with Audit(database) as audit:
        yield audit


async def test_what_was_written_is_read_in_its_order(audit) -> None:
    act = Act("acme", "token:ci", "Satellites.Update", "one", "192.0.2.1:5")
    await audit.write(Act("globex", "token:ci", "Satellites.Sleep", "two"))
    changed = Act(*act.columns()[:2], "Satellites.Update", "one", before={"size": "s"}, after={})  # type: ignore[arg-type, call-arg, misc]
    for each in (act, changed):
        await audit.write(each)
    first, second = await audit.read("acme")
    assert (first.actor, first.action, first.target) == ("token:ci", "Satellites.Update", "one")
    assert (first.address, first.result, first.before) == ("192.0.2.1:5", "ok", None)
    assert (second.before, second.after) == ({"size": "s"}, {})
    assert [each.org for each in await audit.read()] == ["globex", "acme", "acme"]
    assert await audit.read("acme", after=first.id) == [second]
    assert await audit.read("acme", limit=1) == [first]
    now = datetime.now(UTC)
    assert len(await audit.read(since=now - timedelta(minutes=5))) == 3
    assert await audit.read(since=now + timedelta(minutes=5)) == []
    assert await audit.read(until=now - timedelta(minutes=5)) == []


@pytest.mark.parametrize(
    "statement",
    [
        "update audit set actor = 'token:other'",
        "update audit set at = now() - interval '400 days'",
        "delete from audit",
        "truncate audit",
    ],
)
async def test_an_audit_entry_cannot_be_changed(audit, database, statement) -> None:
    await audit.write(Act("acme", "token:ci", "Satellites.Update", "one"))
    with pytest.raises(asyncpg.RaiseError, match="only added to"):
        await database.execute(statement)
    assert len(await audit.read()) == 1


async def test_an_orgs_acts_outlive_it(audit, store, database) -> None:
    await store.create_org("acme")
    await audit.write(Act("acme", "token:ci", "Satellites.Terminate", "one"))
    await database.execute("delete from orgs")
    assert [each.target for each in await audit.read("acme")] == ["one"]


async def test_old_acts_go_and_none_before_its_time(database) -> None:
    audit = Audit(database, kept=timedelta(days=1))
    for days in (29, 31, 500):
        await database.execute(
            "insert into audit (at, org, actor, action, result)"
            " values (now() - $1 * interval '1 day', 'acme', 'token:ci', 'x', 'ok')",
            days,
        )
    assert await audit.prune() == 2
    assert len(await audit.read()) == 1
    assert await Audit(database).prune() == 0


async def test_refusals_of_one_caller_cannot_fill_the_database(audit) -> None:
    for n in range(10 * REFUSALS):
        audit.refused(Act("acme", "token:ci", "door", str(n), result="TPR-1130"))
    audit.refused(Act("acme", "token:other", "door", "one", result="TPR-1130"))
    async with asyncio.timeout(LONG):
        while len(found := await audit.read()) <= REFUSALS:
            await asyncio.sleep(0.05)
    assert len(found) == REFUSALS + 1
    assert found[-1].actor == "token:other", "others are not left out for it"


async def test_what_is_not_written_yet_is_written_at_the_end(database) -> None:
    async with Audit(database) as audit:
        audit.refused(Act("acme", "token:\0ci", "door", "x" * 10_000, result="TPR-1130"))
    [entry] = await audit.read()
    assert entry.actor == "token:\N{REPLACEMENT CHARACTER}ci"
    assert len(entry.target) == 500
