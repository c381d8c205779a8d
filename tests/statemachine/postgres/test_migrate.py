"""Migrations: once each, however many start at once, and nothing that was applied may change."""

from __future__ import annotations

import asyncio
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from torpor_statemachine.postgres.migrate import (
    EditedMigration,
    Migration,
    NewerDatabase,
    migrate,
    read,
    shipped,
)
from torpor_statemachine.postgres.pool import Database

FIRST = Migration("0001_first", "create table first (id int)")
SECOND = Migration("0002_second", "create table second (id int)")


async def test_every_migration_shipped_is_applied_in_order(empty_database_url: str) -> None:
    names = [migration.name for migration in shipped()]
    assert names == sorted(names)
    assert await migrate(empty_database_url) == names
    assert await migrate(empty_database_url) == []


async def test_nodes_that_start_at_once_apply_each_once(empty_database_url: str) -> None:
    applied = await asyncio.gather(*(migrate(empty_database_url) for _ in range(8)))
    assert sorted(name for names in applied for name in names) == [m.name for m in shipped()]


async def test_only_what_is_new_is_applied(empty_database_url: str) -> None:
    assert await migrate(empty_database_url, [FIRST]) == ["0001_first"]
    assert await migrate(empty_database_url, [FIRST, SECOND]) == ["0002_second"]


async def test_an_edited_migration_is_an_error(empty_database_url: str) -> None:
    await migrate(empty_database_url, [FIRST])
    edited = Migration(FIRST.name, FIRST.sql + " -- edited")
    with pytest.raises(EditedMigration, match="0001_first"):
        await migrate(empty_database_url, [edited, SECOND])


async def test_an_older_version_runs_on_what_a_newer_one_added(empty_database_url: str) -> None:
    await migrate(empty_database_url, [FIRST, SECOND])
    assert await migrate(empty_database_url, [FIRST]) == []


async def test_an_older_version_refuses_what_it_cannot_work_with(empty_database_url: str) -> None:
    breaking = Migration("0003_no_more.breaking", "drop table first")
    await migrate(empty_database_url, [FIRST, SECOND, breaking])
    with pytest.raises(NewerDatabase, match=r"0003_no_more\.breaking"):
        await migrate(empty_database_url, [FIRST])
    with pytest.raises(NewerDatabase):
        await migrate(empty_database_url, [FIRST, SECOND])


def test_a_breaking_migration_is_told_by_its_file(tmp_path: Path) -> None:
    (tmp_path / "0001_first.sql").write_text("select 1")
    (tmp_path / "0002_second.breaking.sql").write_text("select 2")
    assert [each.name for each in read(tmp_path)] == ["0001_first", "0002_second.breaking"]


async def test_a_migration_that_fails_leaves_nothing_of_itself(empty_database_url: str) -> None:
    broken = Migration("0002_broken", "create table half (id int); select 1 / 0")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(empty_database_url, [FIRST, broken])
    async with Database(empty_database_url) as database:
        assert await database.fetchval("select to_regclass('half')") is None
    assert await migrate(empty_database_url, [FIRST, SECOND]) == ["0002_second"]


async def test_a_migration_may_take_longer_than_its_roles_statements(
    empty_database_url: str,
) -> None:
    """Behind a pooler the role has what routers set for their sessions."""
    name = urlsplit(empty_database_url).path.strip("/")
    async with Database(empty_database_url) as database:
        for setting in ("lock_timeout", "statement_timeout"):
            await database.execute(f"alter database {name} set {setting} = '50ms'")
    slow = Migration("0001_slow", "select pg_sleep(0.3)")
    applied = await asyncio.gather(*(migrate(empty_database_url, [slow]) for _ in range(3)))
    assert sorted(applied) == [[], [], ["0001_slow"]]
