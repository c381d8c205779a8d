"""Orgs' and operators' webhooks in the database. Times are the database's."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import asyncpg

from torpor_router.access.checks import check_name, check_org
from torpor_router.notices.errors import (
    BadWebhook,
    NoWebhookKey,
    TestNotice,
    TooManyWebhooks,
    UnknownWebhook,
    WebhookExists,
)
from torpor_router.notices.kinds import OPERATORS_ONLY, Kind
from torpor_router.notices.reach import checked_url
from torpor_router.notices.sealing import Seal, Target
from torpor_router.notices.signing import mint
from torpor_statemachine.errors import record
from torpor_statemachine.postgres.pool import Database, Record

FORMATS = ("json", "slack")
MOST = 10  # of an org, and of the operators
OVERLAP = timedelta(days=1)  # for which an older secret signs, too
LISTED = 1_000

_COLUMNS = """
webhooks.id, coalesce(orgs.name, '') as org, webhooks.name, format, kinds, host,
webhooks.made_at, tried_at, result, failures,
(select count(*) from notice_deliveries as each
    where each.webhook_id = webhooks.id and each.state = 'waiting') as waiting
"""
_BESIDE = "left join orgs on orgs.id = webhooks.org_id"
_ADD = f"""
with webhooks as (
    insert into webhooks (id, org_id, name, format, kinds, host, sealed)
    select $1, orgs.id, $3, $4, $5, $6, $7
    from (select) as one left join orgs on orgs.name = $2
    where (orgs.id is null) = ($2::text is null)
        and (select count(*) from webhooks as each
            where each.org_id is not distinct from orgs.id) < $8
    returning *
)
select {_COLUMNS} from webhooks {_BESIDE}
"""
_ALL = f"""
select {_COLUMNS} from webhooks {_BESIDE}
where $1::text is null or coalesce(orgs.name, '') = $1
order by org, webhooks.name
"""
_FIND = """
webhooks.id = (
    select webhooks.id from webhooks left join orgs on orgs.id = webhooks.org_id
    where orgs.name is not distinct from $1 and webhooks.name = $2)
"""
_ONE = f"select {_COLUMNS} from webhooks {_BESIDE} where {_FIND}"
_SEALED = f"select id, sealed from webhooks where {_FIND}"
_RESEAL = f"""
with webhooks as (
    update webhooks set sealed = $3 where {_FIND} and sealed = $4 returning *
)
select {_COLUMNS} from webhooks {_BESIDE}
"""
_REMOVE = f"""
with webhooks as (
    delete from webhooks where {_FIND} returning *
), left_over as (
    delete from notice_deliveries using webhooks where webhook_id = webhooks.id
)
select {_COLUMNS} from webhooks {_BESIDE}
"""
# To one webhook alone, and at once, though others wait for its receiver. While one waits that was
# not tried yet, or just now, there is no other: calls do not pile up, nor end its back-off.
_TEST = f"""
with waiting as (
    select each.webhook_id, each.notice_id, each.tried_at
    from notice_deliveries as each join notices on notices.id = each.notice_id
    join webhooks on webhooks.id = each.webhook_id
    where {_FIND} and each.state = 'waiting' and notices.kind = $3
), recent as (
    select notice_id from waiting
    where tried_at is null or tried_at > now() - interval '10 seconds' limit 1
), replaced as (
    update notice_deliveries as each set state = 'given up' from waiting
    where each.webhook_id = waiting.webhook_id and each.notice_id = waiting.notice_id
        and not exists (select from recent)
), tested as (
    update webhooks set next_at = now() where {_FIND} and not exists (select from recent)
    returning id, org_id
), added as (
    insert into notices (kind, org_id, about, failure)
    select $3, org_id, id::text, $4 from tested
    returning id, number
), sent as (
    insert into notice_deliveries (webhook_id, notice_id, number)
    select tested.id, added.id, added.number from tested, added
    returning notice_id
)
select notice_id from sent union all select notice_id from recent
"""
_DELIVERIES = f"""
select notices.id, notices.at, notices.kind, coalesce(orgs.name, '') as org, notices.satellite,
    notices.failure, each.state, each.tries, each.tried_at, each.result
from notice_deliveries as each join notices on notices.id = each.notice_id
left join orgs on orgs.id = notices.org_id
where each.webhook_id = (select id from webhooks where {_FIND})
    and ($3::uuid is null or notices.id = $3)
order by each.number desc limit $4
"""


@dataclass(frozen=True, slots=True)
class Webhook:
    """`org` is "" for the operators'. `kinds` is None where it is told of every kind. `result` is
    of its last delivery, `failures` how many have failed since one succeeded; `waiting`: notices
    that are to be delivered."""

    id: UUID
    org: str
    name: str
    format: str
    kinds: list[str] | None
    host: str
    made_at: datetime
    tried_at: datetime | None
    result: str
    failures: int
    waiting: int


@dataclass(frozen=True, slots=True)
class Delivery:
    """A notice, and what became of it at one webhook: `state` is "waiting", "delivered", "given up"
    or "left out" (too many waited)."""

    id: UUID
    at: datetime
    kind: str
    org: str
    satellite: str
    failure: str
    state: str
    tries: int
    tried_at: datetime | None
    result: str


class Webhooks:
    """An operators' webhook has no org: ""."""

    def __init__(self, database: Database, seal: Seal | None) -> None:
        self._database = database
        self._seal = seal

    async def add(
        self,
        org: str,
        name: str,
        url: str,
        *,
        form: str = "json",
        kinds: Sequence[str] | None = None,
    ) -> tuple[Webhook, str]:
        """Make one; its secret is returned here and never again.

        Raises:
            UnusableName, BadWebhook, NoWebhookKey, UnknownOrg, WebhookExists, TooManyWebhooks: it
                cannot be made.
        """
        check_name(name)
        host = checked_url(url).netloc
        chosen = _checked_kinds(kinds, org)
        if form not in FORMATS:
            raise BadWebhook(f"a format {form[:40]!r}; it is one of {', '.join(FORMATS)}")
        webhook_id, secret = uuid4(), mint()
        sealed = self._sealer().seal(webhook_id, Target(url, secret))
        values = (webhook_id, org or None, name, form, chosen, host, sealed, MOST)
        try:
            row = await self._database.fetchrow(_ADD, *values)
        except asyncpg.UniqueViolationError:
            raise WebhookExists(_full(org, name)) from None
        if row is None:
            await self._check_org(org)
            raise TooManyWebhooks(f"{MOST}")
        return _webhook(row), secret

    async def all(self, org: str | None = None) -> list[Webhook]:
        """An org's, the operators' (""), or all of them."""
        return [_webhook(row) for row in await self._database.fetch(_ALL, org)]

    async def find(self, org: str, name: str) -> Webhook | None:
        row = await self._database.fetchrow(_ONE, org or None, name)
        return None if row is None else _webhook(row)

    async def remove(self, org: str, name: str) -> Webhook:
        """
        Raises:
            UnknownOrg, UnknownWebhook: there is none.
        """
        return await self._changed(org, name, _REMOVE)

    async def rotate(self, org: str, name: str) -> tuple[Webhook, str]:
        """Another secret, which is returned here and never again; the old one signs, too, for
        `OVERLAP`.

        Raises:
            NoWebhookKey, BadWebhookKey, UnknownOrg, UnknownWebhook: nothing was changed.
        """
        seal, secret = self._sealer(), mint()
        row = await self._database.fetchrow(_SEALED, org or None, name)
        if row is None:
            await self._check_org(org)
            raise UnknownWebhook(_full(org, name))
        before = seal.open(row["id"], row["sealed"])
        until = time.time() + OVERLAP.total_seconds()
        target = Target(before.url, secret, before.secret, until)
        sealed = seal.seal(row["id"], target)
        return await self._changed(org, name, _RESEAL, sealed, row["sealed"]), secret

    async def test(self, org: str, name: str) -> UUID:
        """Have a notice delivered that says that it is a test; its id. It is the one before where
        that still waits and was tried less than 10 seconds ago, or never.

        Raises:
            UnknownOrg, UnknownWebhook: there is none.
        """
        text = record(TestNotice())
        notice_id = await self._database.fetchval(_TEST, org or None, name, Kind.TEST, text)
        if notice_id is None:
            await self._check_org(org)
            raise UnknownWebhook(_full(org, name))
        made: UUID = notice_id
        return made

    async def deliveries(
        self, org: str, name: str, *, limit: int = 20, notice_id: UUID | None = None
    ) -> list[Delivery]:
        """The newest first.

        Raises:
            UnknownOrg, UnknownWebhook: there is none.
        """
        limit = min(max(limit, 1), LISTED)
        rows = await self._database.fetch(_DELIVERIES, org or None, name, notice_id, limit)
        if not rows and await self.find(org, name) is None:
            await self._check_org(org)
            raise UnknownWebhook(_full(org, name))
        return [Delivery(**row) for row in rows]

    async def _changed(self, org: str, name: str, statement: str, *values: object) -> Webhook:
        row = await self._database.fetchrow(statement, org or None, name, *values)
        if row is None:
            await self._check_org(org)
            raise UnknownWebhook(_full(org, name))
        return _webhook(row)

    async def _check_org(self, org: str) -> None:
        if org:
            await check_org(self._database, org)

    def _sealer(self) -> Seal:
        if self._seal is None:
            raise NoWebhookKey
        return self._seal


def _checked_kinds(kinds: Sequence[str] | None, org: str) -> list[str] | None:
    if not kinds:
        return None
    for kind in kinds:
        if kind not in tuple(Kind):
            raise BadWebhook(f"no kind {kind[:40]!r}; there are {', '.join(Kind)}")
        if org and kind in OPERATORS_ONLY:
            raise BadWebhook(f"{kind} is told to the platform team alone")
    return sorted(set(kinds))


def _full(org: str, name: str) -> str:
    return f"{org or 'operators'}/{name[:80]}"


def _webhook(row: Record) -> Webhook:
    return Webhook(**row)
