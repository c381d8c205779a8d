"""The bounds of `session` where a pooler opens the sessions: they must be those of the role."""

from __future__ import annotations

from torpor_statemachine.postgres import session
from torpor_statemachine.postgres.pool import Database

_LACKING = """
select format('alter role %I set %s = %L;', current_user, name, wanted) as statement
from pg_settings join unnest($1::text[], $2::text[]) as ours (name, wanted) using (name)
where source = 'default' and setting <> wanted
    or name = 'default_transaction_isolation' and setting <> wanted
order by name
"""


async def lacking(database: Database) -> list[str]:
    """The statements that set what the role's sessions lack; what an operator chose counts."""
    ours = session.settings()
    rows = await database.fetch(_LACKING, list(ours), list(ours.values()))
    return [row["statement"] for row in rows]
