"""Makes what decides on callers, and what keeps account of them."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from torpor_router.access.audit import Audit
from torpor_router.access.directory import Directory
from torpor_router.access.endings import Endings
from torpor_router.access.housekeeping import Housekeeping
from torpor_router.access.issued import IssuedCertificates
from torpor_router.access.issuing import Issuing
from torpor_router.access.members import Members
from torpor_router.access.oidc.exchange import Exchange
from torpor_router.access.oidc.store import TrustRules
from torpor_router.access.removal import Removal
from torpor_router.access.sessions import Sessions
from torpor_router.access.store import Store
from torpor_router.control.access_calls import AccessCalls
from torpor_router.serve.config import ServeConfig
from torpor_statemachine.postgres.pool import Database

if TYPE_CHECKING:
    from torpor_router.access.oidc.issuers import Issuers


class Access(NamedTuple):
    """`directory` decides, `calls` serves torpor.v1.Access, `audit` writes down, `sessions` are
    the status page's."""

    directory: Directory
    calls: AccessCalls
    audit: Audit
    sessions: Sessions


async def make_access(stack: AsyncExitStack, database: Database, config: ServeConfig) -> Access:
    """All of it, running until the stack ends."""
    limits = config.limits
    audit = await stack.enter_async_context(Audit(database, kept=timedelta(days=config.audit_kept)))
    rules = TrustRules(database)
    exchange = Exchange(rules, _issuers, audit)
    issued = IssuedCertificates(database)
    sessions = Sessions(database)
    pruned = (
        *(audit.prune, rules.prune, issued.prune),
        *(Removal(database).prune, sessions.prune),
    )
    await stack.enter_async_context(Housekeeping(pruned))
    endings = asyncio.create_task(Endings(database, config.data).keep_for_ever(), name="endings")
    stack.push_async_callback(_cancelled, endings)
    patience = min(limits.hold_budget, limits.database_budget)
    directory = await stack.enter_async_context(
        Directory(database, audit=audit, exchange=exchange, patience=patience)
    )
    issuing = Issuing(database, config.client_authority)
    await issuing.check()
    calls = AccessCalls(
        Store(database),
        Members(database),
        audit,
        rules,
        exchange,
        issuing=issuing,
        domain=config.domain,
    )
    return Access(directory, calls, audit, sessions)


def _issuers() -> Issuers:
    from torpor_router.access.oidc.issuers import Issuers

    return Issuers(time.monotonic)


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
