"""What every part of access checks alike: names, satellites, and that an org is there."""

from __future__ import annotations

import re
from collections.abc import Sequence

from torpor_router.access.errors import UnknownOrg, UnusableName
from torpor_router.names import is_name
from torpor_statemachine.postgres.pool import Database

MOST_SATELLITES = 100  # that a token or a rule is for, as in migrations/
_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?")  # as in migrations/
_SHOWN = 80  # characters of a name that cannot be used
_ORG_EXISTS = "select exists (select from orgs where name = $1)"


async def check_org(database: Database, name: str) -> None:
    """
    Raises:
        UnknownOrg: there is none of that name.
    """
    if not await database.fetchval(_ORG_EXISTS, name):
        raise UnknownOrg(repr(name))


def check_name(name: str) -> None:
    """Of a token or a member.

    Raises:
        UnusableName: none can be called that.
    """
    if not _NAME.fullmatch(name):
        raise UnusableName(repr(name[:_SHOWN]))


def checked_satellites(names: Sequence[str] | None) -> list[str] | None:
    """
    Raises:
        UnusableName: one of them can be no satellite's, or there are none, or too many.
    """
    if names is None:
        return None
    if not 0 < len(names) <= MOST_SATELLITES:
        raise UnusableName(f"{len(names)} satellites: 1 to {MOST_SATELLITES}")
    for name in names:
        if not is_name(name):
            raise UnusableName(repr(name[:_SHOWN]))
    return sorted(set(names))
