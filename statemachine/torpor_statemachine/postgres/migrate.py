"""Migrations: numbered plain SQL files, applied in order, each once, never edited afterwards.

Any number of nodes may start at once. One advisory lock makes them take turns; each file is
applied in a transaction of its own together with the row that says so, so that a crash leaves it
either wholly applied or not at all.

Migrations add: a version runs on a database that a newer one has migrated, so that a rolling update
can be rolled back. One that takes away what older versions need says so by its name,
NNNN_what.breaking.sql, and they refuse to start from then on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from torpor_provisioner.errors import Status, TorporError
from torpor_statemachine.postgres import session
from torpor_statemachine.postgres.pool import Connection, coded_errors, connect

LOCK = 0x746F_7270_6F72  # "torpor"; shared by every node of the database
_BREAKING = ".breaking"
LONGEST = 3_600.0  # seconds, for one statement; also for the turn of another node

_TABLE = """
create table if not exists migrations (
    name        text primary key,
    sha256      bytea not null,
    applied_at  timestamptz not null default now()
)
"""


# For this transaction only, since behind a pooler the session is not ours
_BOUND = (
    "select set_config(name, value, true) from unnest($1::text[], $2::text[]) as s (name, value)"
)
_BOUNDS = {
    **session.settings(),
    "lock_timeout": "0",  # a migration may wait and work for long, whatever its role may otherwise
    "statement_timeout": "0",
}


class EditedMigration(TorporError):
    code = "TPR-5201"
    status = Status.FAILED_PRECONDITION
    cause = "A migration was changed after it had been applied to this database"
    remedy = "Restore the file as it was released, and put the change into a new migration"


class NewerDatabase(TorporError):
    code = "TPR-5202"
    status = Status.FAILED_PRECONDITION
    cause = "The database has been migrated to what this version of Torpor cannot work with"
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
    package = Path(__file__).parents[1]
    for folder in (package / "migrations", package.parents[1] / "migrations"):
        if folder.is_dir():
            return list(read(folder))
    raise FileNotFoundError(f"no migrations folder in {package} nor beside its checkout")


def read(folder: Path) -> Iterator[Migration]:
    for file in sorted(folder.glob("[0-9][0-9][0-9][0-9]_*.sql")):
        yield Migration(file.stem, file.read_text(encoding="utf-8"))


async def migrate(url: str, migrations: list[Migration] | None = None) -> list[str]:
    """Bring the database at `url` up to date; returns the names that were applied now.

    The lock is a transaction's, not a session's, so that it holds behind PgBouncer too.

    Raises:
        EditedMigration: an applied file has changed since.
        NewerDatabase: a newer version has taken away what this one needs.
        BadDatabaseUrl, DatabaseAway: it cannot be reached.
    """
    known = shipped() if migrations is None else migrations
    connection = await connect(url, timeout=LONGEST)
    try:
        new: list[str] = []
        with coded_errors():
            while (name := await _apply_next(connection, known)) is not None:
                new.append(name)
        return new
    finally:
        await connection.close()


async def _apply_next(connection: Connection, migrations: list[Migration]) -> str | None:
    """Apply the first that is missing, in a transaction of its own; its name."""
    async with connection.transaction(isolation="read_committed"):
        await connection.execute(_BOUND, list(_BOUNDS), list(_BOUNDS.values()))
        await connection.execute("select pg_advisory_xact_lock($1)", LOCK)
        await connection.execute(_TABLE)
        rows = await connection.fetch("select name, sha256 from migrations")
        missing = _missing({row["name"]: row["sha256"] for row in rows}, migrations)
        if missing is None:
            return None
        await connection.execute(missing.sql)
        await connection.execute(
            "insert into migrations (name, sha256) values ($1, $2)", missing.name, missing.sha256
        )
        return missing.name


def _missing(applied: dict[str, bytes], migrations: list[Migration]) -> Migration | None:
    newer = applied.keys() - {migration.name for migration in migrations}
    if breaking := sorted(name for name in newer if name.endswith(_BREAKING)):
        raise NewerDatabase(", ".join(breaking))
    for migration in migrations:
        if applied.get(migration.name, migration.sha256) != migration.sha256:
            raise EditedMigration(migration.name)
    return next((each for each in migrations if each.name not in applied), None)
