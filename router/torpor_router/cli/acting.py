"""Writes into the audit log what an operator changes on the database itself."""

from __future__ import annotations

import getpass
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torpor_router.access.audit import State
    from torpor_statemachine.postgres.pool import Database


async def note(
    database: Database,
    action: str,
    org: str,
    target: str,
    *,
    before: State | None = None,
    after: State | None = None,
) -> None:
    """`action` is the command's words, such as "token revoke"."""
    from torpor_router.access.audit import Act, Audit

    act = Act(org, actor(), action, target, before=before, after=after)
    await Audit(database).write(act)


def actor() -> str:
    """Who runs the command, for the history and the audit log: "shell:root"."""
    try:
        return f"shell:{getpass.getuser()}"
    except (KeyError, OSError):  # an account without a name, as containers have
        return f"shell:{os.getuid()}"
