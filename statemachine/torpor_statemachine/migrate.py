"""Migrations: numbered plain SQL files, applied in order, each once, never edited afterwards.

Any number of nodes may start at once. One advisory lock makes them take turns; each file is
applied in a transaction of its own together with the row that says so, so that a crash leaves it
either wholly applied or not at all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

from torpor_provisioner.errors import Status, TorporError

LOCK = 0x746F_7270_6F72  # "torpor"; shared by every node of the database

_TABLE = """
create table if not exists migrations (
    name        text primary key,
    sha256      bytea not null,
    applied_at  timestamptz not null default now()
)
"""


class EditedMigration(TorporError):
    code = "TPR-5201"
    status = Status.FAILED_PRECONDITION
    cause = "A migration was changed after it had been applied to this database"
    remedy = "Restore the file as it was released, and put the change into a new migration"


class NewerDatabase(TorporError):
    code = "TPR-5202"
    status = Status.FAILED_PRECONDITION
    cause = "The database has migrations that this version of Torpor does not know"
    remedy = "Start a version at least as new as the newest that has run on this database"


@dataclass(frozen=True, slots=True)
class Migration:
    name: str
    sql: str

    @property
    def sha256(self) -> bytes:
        return hashlib.sha256(self.sql.encode()).digest()


def shipped() -> list[Migration]:
    """The migrations of this version, from the wheel or from beside the checkout."""
    package = Path(__file__).parent
    for folder in (package / "migrations", package.parents[1] / "migrations"):
        if folder.is_dir():
            return list(read(folder))
    raise FileNotFoundError(f"no migrations folder in {package} nor beside its checkout")


def read(folder: Path) -> Iterator[Migration]:
    for file in sorted(folder.glob("[0-9][0-9][0-9][0-9]_*.sql")):
        yield Migration(file.stem, file.read_text(encoding="utf-8"))


async def migrate(url: str, migrations: list[Migration] | None = None) -> list[str]:
    """Bring the database at `url` up to date; returns the names that were applied now.

    Raises:
        EditedMigration: an applied file has changed since.
        NewerDatabase: the database is ahead of this version.
    """
    connection: asyncpg.Connection[Any] = await asyncpg.connect(url)
    try:
        await connection.execute("select pg_advisory_lock($1)", LOCK)
        return await _apply(connection, shipped() if migrations is None else migrations)
    finally:
        await connection.close()  # and with it the lock


async def _apply(connection: asyncpg.Connection[Any], migrations: list[Migration]) -> list[str]:
    await connection.execute(_TABLE)
    rows = await connection.fetch("select name, sha256 from migrations")
    applied: dict[str, bytes] = {row["name"]: row["sha256"] for row in rows}
    unknown = sorted(applied.keys() - {migration.name for migration in migrations})
    if unknown:
        raise NewerDatabase(", ".join(unknown))
    new = []
    for migration in migrations:
        before = applied.get(migration.name)
        if before is None:
            async with connection.transaction():
                await connection.execute(migration.sql)
                await connection.execute(
                    "insert into migrations (name, sha256) values ($1, $2)",
                    migration.name,
                    migration.sha256,
                )
            new.append(migration.name)
        elif before != migration.sha256:
            raise EditedMigration(migration.name)
    return new
