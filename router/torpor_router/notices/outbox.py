"""What is to be delivered, and what became of it.

One delivery at a time goes to a webhook, from one node: claimed with SKIP LOCKED until it is
marked, or until the claim is over because the node died. Notices go in the order in which they were
written; one that failed has a later time of its own, and while a receiver fails nothing is sent to
it before `next_at`. Nothing here holds a lock for longer than its statement.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID, uuid4

from torpor_router.notices.message import Notice
from torpor_statemachine import clock
from torpor_statemachine.postgres.pool import Database

GIVEN_UP = timedelta(days=1)  # after a notice was written
KEPT = timedelta(days=30)
CLAIMED = timedelta(seconds=30)  # a delivery takes 10 s at most
FIRST_PAUSE = 5.0  # seconds; doubled with each failure in a row
LONGEST_PAUSE = 3_600.0
RESULTS = ("delivered", "failed", "given up")  # what becomes of one try
_AT_ONCE = 2  # webhooks of one org that are claimed at a time: it keeps no other's waiting
_PRUNED = 1_000

# A time far in the future was written before the database's clock was set back
_DUE = "not between now() + interval '1 millisecond' and now() + interval '2 hours'"
_CLAIM = f"""
with due as (
    select webhooks.id from webhooks
    where next_at {_DUE}
        and (claimed_until is null or claimed_until {_DUE})
        and exists (select from notice_deliveries as each
            where each.webhook_id = webhooks.id and state = 'waiting' and each.next_at {_DUE})
        and (select count(*) from webhooks as other
            where other.org_id is not distinct from webhooks.org_id
                and other.claimed_until > now()) < {_AT_ONCE}
    order by failures > 0, next_at limit 1
    for no key update of webhooks skip locked
), claimed as (
    update webhooks set claim = $1, claimed_until = now() + $2 from due where webhooks.id = due.id
    returning webhooks.*
)
select claimed.id as webhook_id, claimed.name, claimed.org_id is null as operators, claimed.format,
    claimed.sealed, waiting.tries, claimed.failures, notices.id, notices.at, notices.kind,
    coalesce(orgs.name, '') as org, notices.satellite, notices.failure
from claimed cross join lateral (
    select notice_id, tries from notice_deliveries as each
    where each.webhook_id = claimed.id and state = 'waiting' and each.next_at {_DUE}
    order by number limit 1
) as waiting
join notices on notices.id = waiting.notice_id
left join orgs on orgs.id = notices.org_id
"""
_MARK = """
with sent as (
    update webhooks set claim = null, claimed_until = null, tried_at = now(), result = $4,
        failures = case when $5 then 0 else failures + 1 end,
        next_at = case when $5 then now() else now() + $6::interval end
    where id = $1 and claim = $3
)
update notice_deliveries as each set tries = tries + 1, tried_at = now(), result = $4,
    state = case when $5 then 'delivered'
        when notices.at + $8 < now() + $7::interval then 'given up' else 'waiting' end,
    next_at = now() + $7::interval
from notices
where each.webhook_id = $1 and each.notice_id = $2 and each.state = 'waiting'
    and notices.id = each.notice_id
returning each.state
"""
# Of a receiver that has failed for so long that its turn did not come
_GIVE_UP = """
update notice_deliveries as each set state = 'given up'
from notices where notices.id = each.notice_id and state = 'waiting' and notices.at + $1 < now()
"""
_PRUNE = """
delete from notices where id = any(array(select id from notices where at + $1 < now() limit $2))
"""


@dataclass(frozen=True, slots=True)
class Due:
    """A delivery that this node has claimed. `tries` and `failures` are those before it."""

    webhook_id: UUID
    name: str
    operators: bool
    format: str
    sealed: bytes
    tries: int
    failures: int
    notice: Notice


class Outbox:
    """`claimed` is for how long a node that died keeps others from its delivery."""

    def __init__(self, database: Database, *, claimed: timedelta = CLAIMED) -> None:
        self._database = database
        self._claim = uuid4()  # of this node's, which has one delivery a webhook at a time
        self._claimed = claimed

    async def claim(self) -> Due | None:
        """The next one to be delivered, if one is due.

        Raises:
            DatabaseAway: nothing was claimed, or nobody knows: then it is claimed until its end.
        """
        row = await self._database.fetchrow(_CLAIM, self._claim, self._claimed)
        if row is None:
            return None
        notice = Notice(**{field: row[field] for field in _OF_NOTICE})
        return Due(notice=notice, **{field: row[field] for field in _OF_WEBHOOK})

    async def mark(self, due: Due, result: str, *, delivered: bool) -> str:
        """What has become of it; its state after that, "" where it is gone.

        Raises:
            DatabaseAway: it is delivered again when its claim is over.
        """
        values = (due.webhook_id, due.notice.id, self._claim, result, delivered)
        pauses = (_pause(due.failures), _pause(due.tries))
        state = await self._database.fetchval(_MARK, *values, *pauses, GIVEN_UP)
        return state or ""

    async def prune(self) -> int:
        """Give up what is too old, and delete what was kept for long enough; how many."""
        await self._database.execute(_GIVE_UP, GIVEN_UP)
        done = await self._database.execute(_PRUNE, KEPT, _PRUNED)
        return int(done.rpartition(" ")[2])


_OF_NOTICE = ("id", "at", "kind", "org", "satellite", "failure")
_OF_WEBHOOK = ("webhook_id", "name", "operators", "format", "sealed", "tries", "failures")


def _pause(before: int) -> timedelta:
    """After so many failures before this one."""
    longest = min(FIRST_PAUSE * 2 ** min(before, 20), LONGEST_PAUSE)
    return timedelta(seconds=clock.jittered(longest))
