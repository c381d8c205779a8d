"""`torpor audit`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from torpor_router.cli.access_tables import SINCE, show_acts
from torpor_router.cli.output import Output, with_output
from torpor_router.cli.storage import Storage, with_storage

if TYPE_CHECKING:
    from torpor_router.access.audit import Entry
    from torpor_statemachine.postgres.pool import Database

_PAGE = 1_000


@click.command()
@click.option("--org", help="Of one org; else of all.")
@SINCE
@with_storage
@with_output
def audit(org: str | None, since: timedelta, output: Output, storage: Storage) -> None:
    """Show who changed what, and who was refused for lack of rights; the oldest first.

    With --json, an object a line, for those who ship logs.
    """
    begin = datetime.now(UTC) - since

    async def lines(database: Database) -> None:
        async for entry in _entries(database, org, begin):
            output.line(entry)

    async def gathered(database: Database) -> list[Entry]:
        return [entry async for entry in _entries(database, org, begin)]

    if output.as_json:
        storage.run(lines)
        return
    show_acts(output, storage.run(gathered))


async def _entries(database: Database, org: str | None, since: datetime) -> AsyncIterator[Entry]:
    from torpor_router.access.audit import Audit

    audit, after = Audit(database), 0
    while page := await audit.read(org, since=since, after=after, limit=_PAGE):
        for entry in page:
            yield entry
        after = page[-1].id
