"""The database of the commands that read and write it themselves, without a router."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from torpor_provisioner.errors import Status, TorporError
from torpor_router.cli.output import Output, with_output

if TYPE_CHECKING:
    from torpor_statemachine.postgres.pool import Database

_Answer = TypeVar("_Answer")
_Command = TypeVar("_Command", bound=Callable[..., Any])


class NoDatabase(TorporError):
    code = "TPR-5102"
    status = Status.FAILED_PRECONDITION
    cause = "There is no database here"
    remedy = (
        "Give --database-url or the router's --data folder ('torpor migrate' makes one), or a"
        " router's --address"
    )


class NotMigrated(TorporError):
    code = "TPR-5103"
    status = Status.FAILED_PRECONDITION
    cause = "The database lacks tables of this version of Torpor"
    remedy = "Run 'torpor migrate', or start a router, which does so itself"


@dataclass(frozen=True, slots=True)
class Storage:
    """Where a command's database is: at `url`, or else embedded in `data`."""

    url: str | None
    data: Path

    def run(self, work: Callable[[Database], Coroutine[Any, Any, _Answer]]) -> _Answer:
        """Do some work on it.

        Raises:
            NoDatabase, NotMigrated, BadDatabaseUrl, DatabaseAway, …: with what to do about it.
        """
        return asyncio.run(self._run(work))

    async def _run(self, work: Callable[[Database], Coroutine[Any, Any, _Answer]]) -> _Answer:
        async with self.opened() as database:
            with migrated():
                return await work(database)

    @asynccontextmanager
    async def opened(self, *, create: bool = False) -> AsyncIterator[Database]:
        """The database, which is made if need be (`create`)."""
        from torpor_statemachine.postgres.pool import Database

        # a command is over soon, and works behind every pooler
        serving = self._served(create=create)
        async with serving as url, Database(url, poll_only=True, connections=2) as database:
            yield database

    @property
    def is_here(self) -> bool:
        """Whether a database is named, or an embedded one lies in `data`."""
        return self.url is not None or self._folder.is_dir()

    @property
    def _folder(self) -> Path:
        return self.data / "postgres"

    @asynccontextmanager
    async def _served(self, *, create: bool) -> AsyncIterator[str]:
        if self.url is not None:
            yield self.url
            return
        from torpor_statemachine.postgres.embedded import EmbeddedPostgres

        if not create and not self._folder.is_dir():
            raise NoDatabase(str(self._folder))
        async with EmbeddedPostgres(
            self._folder
        ).running() as url:  # a running router's, if it has one
            yield url


@contextmanager
def migrated() -> Iterator[None]:
    """
    Raises:
        NotMigrated: instead of Postgres's own words.
    """
    import asyncpg

    try:
        yield
    except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError) as error:
        raise NotMigrated(str(error)) from error


def database_options(command: _Command) -> _Command:
    """Give a click command the options that tell its database."""
    for declare in reversed(_OPTIONS):
        declare(command)
    return command


def with_storage(command: _Command) -> _Command:
    """The same, as the argument `storage`."""

    @functools.wraps(command)
    def wrapped(*arguments: Any, database_url: str | None, data: Path, **options: Any) -> Any:
        return command(*arguments, storage=Storage(database_url or None, data), **options)

    return database_options(wrapped)  # type: ignore[return-value]  # click replaces the signature


_OPTIONS = (
    click.option(
        "--database-url",
        envvar="TORPOR_DATABASE_URL",
        help="The routers' Postgres; without it, the embedded one.",
    ),
    click.option(
        "--data",
        type=click.Path(file_okay=False, path_type=Path),
        default=Path(".torpor"),
        show_default=True,
        envvar="TORPOR_DATA",
        help="The router's folder, in which the embedded Postgres lives.",
    ),
)


@click.command()
@with_storage
@with_output
def migrate(output: Output, storage: Storage) -> None:
    """Bring the database up to date; without one, make the embedded one.

    Routers do this themselves when they start. Any number may do it at once.
    """
    applied, wanted = asyncio.run(_migrate(storage))
    if output.as_json:
        output.json({"applied": applied, "role_settings": wanted})
        return
    output.say(f"Applied {', '.join(applied)}." if applied else "Up to date.")
    if wanted:
        output.say(
            "A connection pooler stands before the database. What routers set for each session, so"
            " that one that vanishes leaves no lock behind, must be the role's; run there:"
        )
        for statement in wanted:
            output.say(f"  {statement}")


async def _migrate(storage: Storage) -> tuple[list[str], list[str]]:
    """The migrations that were applied, and what is left to do behind a pooler."""
    from torpor_statemachine.postgres.migrate import migrate
    from torpor_statemachine.postgres.role import lacking

    async with storage.opened(create=True) as database:
        applied = await migrate(database.url)
        return applied, await lacking(database) if database.pooled else []
