"""The audit log: who changed what, and who was refused for lack of rights.

What a call changed is written before the call is answered. Refusals are gathered and written by
the second, so many of one caller a minute, so that nobody can fill the database by being refused.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter, deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self

from torpor_statemachine.postgres.pool import Database, DatabaseAway

log = logging.getLogger(__name__)

OK = "ok"
KEPT = timedelta(days=400)  # unless `torpor serve --audit-kept` says otherwise
KEPT_AT_LEAST = timedelta(days=30)  # as in migrations/
REFUSALS = 30  # of one caller a minute; more are counted in the metrics alone
WAITING = 1_000  # refusals that are not written yet
_EVERY = 1.0  # seconds
_MINUTE = 60  # rounds
_LONGEST = 500  # characters of an actor or a target
_PRUNED = 5_000  # rows in one statement

_WRITE = """
insert into audit (org, actor, address, action, target, result, before, after)
select org, actor, address, action, target, result, before::jsonb, after::jsonb
  from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[],
              $7::text[], $8::text[])
       as entry (org, actor, address, action, target, result, before, after)
"""
_READ = """
select id, at, org, actor, address, action, target, result, before, after from audit
 where ($1::text is null or org = $1) and ($2::timestamptz is null or at >= $2)
   and ($3::timestamptz is null or at < $3) and id > $4
 order by id limit $5
"""
_PRUNE = """
delete from audit where id in (
    select id from audit where at < now() - $1::interval order by id limit $2
    for update skip locked)
"""

State = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Act:
    """What somebody did or was refused. `result` is "ok" or a code; the states are JSON."""

    org: str
    actor: str
    action: str
    target: str = ""
    address: str = ""
    result: str = OK
    before: State | None = None
    after: State | None = None

    def columns(self) -> tuple[str | None, ...]:
        texts = (self.org, self.actor, self.address, self.action, self.target, self.result)
        states = (None if each is None else json.dumps(each) for each in (self.before, self.after))
        return (*(_storable(text) for text in texts), *states)


@dataclass(frozen=True, slots=True)
class Entry:
    """An act as it was written, with its place in the log."""

    id: int
    at: datetime
    org: str
    actor: str
    address: str
    action: str
    target: str
    result: str
    before: State | None
    after: State | None


class Audit:
    """Writes from `start` to `aclose`; reads at any time."""

    def __init__(self, database: Database, *, kept: timedelta = KEPT) -> None:
        self._database = database
        self._kept = max(kept, KEPT_AT_LEAST)
        self._refusals: deque[Act] = deque()
        self._of: Counter[str] = Counter()  # refusals of each caller in this minute
        self._left_out = 0
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Audit {len(self._refusals)} refusals to be written>"

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._keep_writing(), name="audit log")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        with suppress(DatabaseAway):
            await self._write_refusals()

    async def write(self, act: Act) -> None:
        """
        Raises:
            DatabaseAway, DatabaseBusy: it could not be written.
        """
        await self._database.execute(_WRITE, *([column] for column in act.columns()))

    def refused(self, act: Act) -> None:
        """Write it soon; no I/O here."""
        self._of[act.actor] += 1
        if self._of[act.actor] > REFUSALS or len(self._refusals) >= WAITING:
            self._left_out += 1
            return
        self._refusals.append(act)

    async def read(
        self,
        org: str | None = None,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        after: int = 0,
        limit: int = 1_000,
    ) -> list[Entry]:
        """The oldest first. `after` is the last one's id that the reader has; None is any org."""
        rows = await self._database.fetch(_READ, org, since, until, after, limit)
        return [
            Entry(**{**row, **{key: _state(row[key]) for key in ("before", "after")}})
            for row in rows
        ]

    async def prune(self) -> int:
        """Delete some that are older than they are kept; how many."""
        done = await self._database.execute(_PRUNE, self._kept, _PRUNED)
        return int(done.rpartition(" ")[2])

    # --- the task

    async def _keep_writing(self) -> None:
        rounds = 0
        while True:
            await asyncio.sleep(_EVERY)
            rounds += 1
            if rounds % _MINUTE == 0:
                self._next_minute()
            try:
                await self._write_refusals()
            except DatabaseAway as error:
                log.debug("the audit log waits: %s", error)
            except Exception:
                log.exception("writing the audit log failed")

    def _next_minute(self) -> None:
        self._of.clear()
        if self._left_out:
            log.warning("%d refusals are not in the audit log: too many", self._left_out)
            self._left_out = 0

    async def _write_refusals(self) -> None:
        acts = list(self._refusals)
        if acts:
            await self._database.execute(_WRITE, *zip(*(a.columns() for a in acts), strict=True))
            for _ in acts:
                self._refusals.popleft()


def _storable(text: str) -> str:
    """Postgres has no NUL in texts."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")[:_LONGEST]


def _state(text: str | None) -> State | None:
    return None if text is None else json.loads(text)
